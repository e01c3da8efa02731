// The part of framework/data/scenes.hpp that writes a data set.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <iterator>
#include <mutex>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <system_error>
#include <thread>
#include <utility>

#include "framework/base/error.hpp"
#include "framework/data/scenes.hpp"

namespace strata::data {
namespace {

namespace fs = std::filesystem;

constexpr int kLayoutVersion =
    1;  // of the files and of every drawn byte: raise it when either changes
constexpr int kMostPairs = 9999;  // names have four digits
constexpr std::array<const char*, 3> kSceneSplits{"train", "val", "test"};
constexpr std::array<const char*, 5> kSceneKinds{"A", "B", "label", "label_a", "label_b"};
constexpr const char* kSceneMarker = R"("generator": "make_scenes")";

std::array<int, 3> scene_pairs(const SceneSetOptions& options) {
  return {options.train, options.val, options.test};
}

std::string describe_set(const SceneSetOptions& options) {
  std::string classes;
  std::string palette;
  for (std::size_t i = 0; i < kSceneClasses.size(); ++i) {
    const auto& [r, g, b] = kScenePalette[i];
    classes += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", kSceneClasses[i]);
    palette += fmt::format("{}[{}, {}, {}]", i == 0 ? "" : ", ", r, g, b);
  }
  return fmt::format(
      "{{\n  {},\n  \"layout\": {},\n  \"seed\": {},\n  \"size\": {},\n"
      "  \"pairs\": {{\"train\": {}, \"val\": {}, \"test\": {}}},\n"
      "  \"label_frame\": \"A\",\n"
      "  \"change\": {{\"classes\": [\"unchanged\", \"changed\"], \"palette\": [[0, 0, 0], [255, "
      "255, 255]]}},\n"
      "  \"semantic\": {{\"classes\": [{}], \"palette\": [{}]}}\n}}\n",
      kSceneMarker, kLayoutVersion, options.seed, options.size, options.train, options.val,
      options.test, classes, palette);
}

std::string read_scene_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_scene_file(const fs::path& path, const char* data, std::size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(data, static_cast<std::streamsize>(size));
  file.close();
  if (!file) {
    throw DataError(path.string() +
                    ": cannot be written; is the disk full or the folder read-only?");
  }
}

void write_scene_png(const fs::path& path, std::vector<std::uint8_t>& pixels, int size,
                     int channels) {
  cv::Mat image(size, size, channels == 3 ? CV_8UC3 : CV_8UC1, pixels.data());
  if (channels == 3) {  // OpenCV writes B, G, R
    for (std::size_t i = 0; i < pixels.size(); i += 3) {
      std::swap(pixels[i], pixels[i + 2]);
    }
  }
  std::vector<std::uint8_t> encoded;
  cv::imencode(".png", image, encoded, {cv::IMWRITE_PNG_COMPRESSION, 1});
  write_scene_file(path, reinterpret_cast<const char*>(encoded.data()), encoded.size());
}

fs::path scene_file(const fs::path& folder, std::size_t split, std::size_t kind, int index) {
  return folder / kSceneSplits[split] / kSceneKinds[kind] / fmt::format("{:04}.png", index);
}

void write_scene(const SceneSetOptions& options, const fs::path& folder, std::size_t split,
                 int index) {
  // A split has its own numbers, so that a longer train split leaves the test pictures as they are.
  ScenePair pair = draw_scene(
      options.seed, (static_cast<std::uint64_t>(split) << 32) + static_cast<std::uint64_t>(index),
      options.size);
  const std::array<std::vector<std::uint8_t>*, 5> images{&pair.a, &pair.b, &pair.label,
                                                         &pair.label_a, &pair.label_b};
  for (std::size_t kind = 0; kind < images.size(); ++kind) {
    write_scene_png(scene_file(folder, split, kind, index), *images[kind], options.size,
                    kind < 2 ? 3 : 1);
  }
}

/// Whether a folder holds exactly this set.
bool is_whole_set(const SceneSetOptions& options, const fs::path& folder) {
  if (read_scene_text(folder / "scenes.json") != describe_set(options)) {
    return false;
  }
  for (std::size_t split = 0; split < kSceneSplits.size(); ++split) {
    for (std::size_t kind = 0; kind < kSceneKinds.size(); ++kind) {
      for (int index = 0; index < scene_pairs(options)[split]; ++index) {
        std::error_code missing;
        if (fs::file_size(scene_file(folder, split, kind, index), missing) == 0 || missing) {
          return false;
        }
      }
    }
  }
  return true;
}

/// A folder may be replaced when it is empty or when this generator wrote all that is in it.
void check_replaceable(const fs::path& folder) {
  const auto refuse = [&](const fs::path& path) {
    throw DataError(fmt::format(
        "{}: holds \"{}\", which make_scenes did not write; nothing was changed; choose another "
        "folder or remove that",
        folder.string(), path.lexically_relative(folder).string()));
  };
  if (!fs::is_directory(folder)) {
    throw DataError(folder.string() + ": is a file, not a folder; choose another folder");
  }
  const bool marked =
      read_scene_text(folder / "scenes.json").find(kSceneMarker) != std::string::npos;
  const auto known = [](const auto& names, const fs::path& path) {
    return std::find(names.begin(), names.end(), path.filename().string()) != names.end();
  };
  for (const auto& split : fs::directory_iterator(folder)) {
    if (!marked) {
      refuse(split.path());
    }
    if (split.path().filename() == "scenes.json") {
      continue;
    }
    if (!split.is_directory() || !known(kSceneSplits, split.path())) {
      refuse(split.path());
    }
    for (const auto& kind : fs::directory_iterator(split)) {
      if (!kind.is_directory() || !known(kSceneKinds, kind.path())) {
        refuse(kind.path());
      }
      for (const auto& file : fs::directory_iterator(kind)) {
        const std::string stem = file.path().stem().string();
        if (!file.is_regular_file() || file.path().extension() != ".png" || stem.size() != 4 ||
            stem.find_first_not_of("0123456789") != std::string::npos) {
          refuse(file.path());
        }
      }
    }
  }
}

void remove_scene_set(const fs::path& folder) {
  if (fs::exists(folder)) {
    check_replaceable(folder);
    fs::remove_all(folder);
  }
}

/// Draws every pair on `jobs` threads; the calling thread reports. The first failure stops all and
/// is thrown.
void write_scenes(const SceneSetOptions& options, const fs::path& folder,
                  const std::function<void(int, int)>& progress) {
  std::vector<std::pair<std::size_t, int>> work;
  for (std::size_t split = 0; split < kSceneSplits.size(); ++split) {
    for (const char* kind : kSceneKinds) {
      fs::create_directories(folder / kSceneSplits[split] / kind);
    }
    for (int index = 0; index < scene_pairs(options)[split]; ++index) {
      work.emplace_back(split, index);
    }
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::exception_ptr failure;
  std::size_t next = 0;
  std::size_t running = 0;
  int done = 0;
  const auto worker = [&] {
    std::unique_lock lock(mutex);
    while (next < work.size() && !failure) {
      const auto [split, index] = work[next++];
      lock.unlock();
      std::exception_ptr error;
      try {
        write_scene(options, folder, split, index);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      ++done;
      if (error && !failure) {
        failure = error;
      }
      changed.notify_one();
    }
    --running;
    changed.notify_one();
  };
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const std::size_t jobs =
      std::min(work.size(), options.jobs > 0 ? static_cast<std::size_t>(options.jobs) : cores);
  running = jobs;
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < jobs; ++i) {
    threads.emplace_back(worker);
  }
  std::unique_lock lock(mutex);
  for (int seen = -1; running > 0 || seen != done;) {
    changed.wait(lock, [&] { return done != seen || running == 0; });
    seen = done;
    if (progress) {
      lock.unlock();
      progress(seen, static_cast<int>(work.size()));
      lock.lock();
    }
  }
  if (failure) {
    lock.unlock();
    threads.clear();
    std::rethrow_exception(failure);
  }
}

void check_scene_options(const SceneSetOptions& options) {
  const auto check = [](const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value < low || value > high) {
      throw UserError(fmt::format("--{}: must be from {} to {}, got {}", name, low, high, value));
    }
  };
  check("train", options.train, 0, kMostPairs);
  check("val", options.val, 0, kMostPairs);
  check("test", options.test, 0, kMostPairs);
  if (options.train + options.val + options.test == 0) {
    throw UserError("--train, --val and --test: ask for no pairs, got 0, 0 and 0");
  }
  check("size", options.size, kSmallestScene, kLargestScene);
  check("jobs", options.jobs, 0, 1024);
  if (options.out.empty()) {
    throw UserError("--out: names no folder");
  }
}

}  // namespace

SceneSetResult make_scene_set(const SceneSetOptions& options,
                              const std::function<void(int, int)>& progress) {
  check_scene_options(options);
  fs::path out = fs::absolute(options.out).lexically_normal();
  if (!out.has_filename()) {
    out = out.parent_path();  // "data/scenes/"
  }
  fs::path drawing = out;
  drawing += ".tmp";
  fs::path old = out;
  old += ".old";
  try {
    if (fs::exists(out)) {
      if (is_whole_set(options, out)) {
        return SceneSetResult::up_to_date;
      }
      check_replaceable(out);
    }
    remove_scene_set(drawing);
    remove_scene_set(old);
    fs::create_directories(drawing);
    const std::string text = describe_set(options);
    try {
      write_scene_file(drawing / "scenes.json", text.data(), text.size());
      write_scenes(options, drawing, progress);
    } catch (...) {
      std::error_code ignored;
      fs::remove_all(drawing, ignored);
      throw;
    }
    if (fs::exists(out)) {
      fs::rename(out, old);
    }
    fs::rename(drawing, out);
    fs::remove_all(old);
  } catch (const fs::filesystem_error& error) {
    throw DataError(error.path1().string() +
                    ": cannot be read or written: " + error.code().message());
  }
  return SceneSetResult::written;
}

}  // namespace strata::data
