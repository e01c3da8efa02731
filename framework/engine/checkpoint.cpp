#include "framework/engine/checkpoint.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/base/version.hpp"
#include "framework/io/pretrained.hpp"
#include "framework/io/safetensors.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kModel = "model.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kState = "state.json";
constexpr const char* kConfig = "config.toml";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kBest = "best";
constexpr int kFormat = 1;

std::string folder_name(std::int64_t step) { return "step_" + std::to_string(step); }

std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with("step_") || name.size() == 5) return std::nullopt;
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + 5, end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

std::string tensor_file(const std::string& name) { return name + ".safetensors"; }

constexpr std::array kRequired{kModel, kOptimizer, kState, kConfig};

std::vector<std::string> files_of(const Checkpoint& checkpoint) {
  std::vector<std::string> names(kRequired.begin(), kRequired.end());
  for (const auto& [name, tensors] : checkpoint.hooks) names.push_back(tensor_file(name));
  return names;
}

std::string manifest_text(const fs::path& folder, std::int64_t step, const Checkpoint& checkpoint) {
  Json manifest;
  manifest["format"] = kFormat;
  manifest["strata"] = version();
  manifest["libtorch"] = libtorch_version();
  manifest["step"] = step;
  for (const std::string& name : files_of(checkpoint)) {
    const FileSum sum = sum_of(folder / name);
    manifest["files"][name] = {{"size", sum.size}, {"crc32c", fmt::format("{:08x}", sum.crc)}};
  }
  manifest["served"] = tensor_file(checkpoint.served);
  manifest["plugins"] = checkpoint.plugins;
  return manifest.dump(2) + "\n";
}

Json read_json(const fs::path& path) {
  try {
    return Json::parse(read_text(path));
  } catch (const Json::exception&) {
    throw CheckpointError(path.string() + ": is not valid JSON");
  }
}

/// Puts the folder `beside` in the place of `final`, in one step where the file system can: whoever
/// comes after a kill sees the old one or the new one. What was there is `beside` or gone.
void replace(const fs::path& beside, const fs::path& final, const fs::path& replaced) {
  if (!fs::exists(final)) {
    fs::rename(beside, final);
    return;
  }
  if (::renameat2(AT_FDCWD, beside.c_str(), AT_FDCWD, final.c_str(), RENAME_EXCHANGE) == 0) return;
  fs::remove_all(replaced);
  fs::rename(final, replaced);
  fs::rename(beside, final);
}

}  // namespace

std::string write_checkpoint(const std::string& work_dir, std::int64_t step,
                             const Checkpoint& checkpoint) {
  const fs::path final = fs::path(work_dir) / folder_name(step);
  const fs::path beside = fs::path(work_dir) / ("." + folder_name(step) + ".partial");
  const fs::path replaced = fs::path(work_dir) / ("." + folder_name(step) + ".replaced");
  std::error_code ignored;
  try {
    fs::remove_all(beside);
    make_folder(beside);
    io::write_safetensors(beside / kModel, checkpoint.model, {{"format", "pt"}});
    io::write_safetensors(beside / kOptimizer, checkpoint.optimizer);
    for (const auto& [name, tensors] : checkpoint.hooks) {
      io::write_safetensors(beside / tensor_file(name), tensors, {{"format", "pt"}});
    }
    write_text(beside / kState, checkpoint.state);
    write_text(beside / kConfig, checkpoint.config);
    write_text(beside / kManifest, manifest_text(beside, step, checkpoint));
    sync_path(beside);  // the files are synced by who wrote them
    replace(beside, final, replaced);
    sync_path(work_dir);
    // It is saved now: what cannot be cleaned up is no failure.
    fs::remove_all(beside, ignored);
    fs::remove_all(replaced, ignored);
  } catch (const std::exception& error) {
    fs::remove_all(beside, ignored);
    if (fs::exists(replaced, ignored) && !fs::exists(final, ignored)) {
      fs::rename(replaced, final, ignored);
    }
    throw CheckpointError(
        fmt::format("{}: the checkpoint could not be saved ({}); older ones are untouched",
                    final.string(), error.what()));
  }
  return final;
}

std::string check_checkpoint(const std::string& folder) {
  const fs::path base(folder);
  if (!fs::is_regular_file(base / kManifest)) return "has no manifest.json";
  try {
    const Json manifest = read_json(base / kManifest);
    for (const char* name : kRequired) manifest.at("files").at(name);
    for (const auto& [name, entry] : manifest.at("files").items()) {
      if (!fs::is_regular_file(base / name)) return fmt::format("{} is missing", name);
      const auto size = entry.at("size").get<std::uint64_t>();
      if (fs::file_size(base / name) != size) {
        return fmt::format("{} has {} bytes, the manifest says {}", name,
                           fs::file_size(base / name), size);
      }
      if (fmt::format("{:08x}", sum_of(base / name).crc) != entry.at("crc32c").get<std::string>()) {
        return fmt::format("{} is not what the manifest says (checksum)", name);
      }
    }
  } catch (const Json::exception&) {
    return "manifest.json is not a checkpoint's";
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

Checkpoint read_checkpoint(const std::string& folder) {
  if (const std::string wrong = check_checkpoint(folder); !wrong.empty()) {
    throw CheckpointError(folder + ": is not a whole checkpoint: " + wrong);
  }
  const fs::path base(folder);
  Checkpoint checkpoint;
  checkpoint.model = io::read_safetensors(base / kModel).tensors;
  checkpoint.optimizer = io::read_safetensors(base / kOptimizer).tensors;
  checkpoint.state = read_text(base / kState);
  checkpoint.config = read_text(base / kConfig);
  const Json manifest = read_json(base / kManifest);
  checkpoint.served = fs::path(manifest.value("served", kModel)).stem();
  for (const auto& [name, entry] : manifest.at("files").items()) {
    if (std::find(kRequired.begin(), kRequired.end(), name) != kRequired.end()) continue;
    checkpoint.hooks.emplace_back(fs::path(name).stem(), io::read_safetensors(base / name).tensors);
  }
  if (const auto plugins = manifest.find("plugins"); plugins != manifest.end()) {
    checkpoint.plugins = plugins->get<std::vector<std::string>>();
  }
  return checkpoint;
}

std::vector<std::pair<std::int64_t, std::string>> checkpoints_in(const std::string& work_dir) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(work_dir, error)) {
    const auto step = step_of(entry.path().filename());
    if (step && entry.is_directory(error)) found.emplace_back(*step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<std::string> newest_checkpoint(const std::string& work_dir) {
  auto all = checkpoints_in(work_dir);
  for (auto one = all.rbegin(); one != all.rend(); ++one) {
    const std::string wrong = check_checkpoint(one->second);
    if (wrong.empty()) return one->second;
    log::warning("{}: passed over, not a whole checkpoint: {}", one->second, wrong);
  }
  return std::nullopt;
}

std::string checkpoint_of(const std::string& path) {
  if (fs::is_regular_file(fs::path(path) / kManifest)) return path;
  if (!fs::is_directory(path)) throw CheckpointError(path + ": no such folder");
  if (const auto newest = newest_checkpoint(path)) return *newest;
  throw CheckpointError(path + ": neither is a checkpoint nor has one (step_N folder)");
}

void mark_best(const std::string& work_dir, std::int64_t step) {
  const fs::path link = fs::path(work_dir) / kBest;
  const fs::path beside = fs::path(work_dir) / ".best.partial";
  try {
    fs::remove(beside);
    fs::create_directory_symlink(folder_name(step), beside);
    fs::rename(beside, link);
  } catch (const fs::filesystem_error& error) {
    throw CheckpointError(link.string() + ": cannot be set: " + error.code().message());
  }
}

std::optional<std::string> best_checkpoint(const std::string& work_dir) {
  const fs::path link = fs::path(work_dir) / kBest;
  std::error_code error;
  if (!fs::is_directory(link, error)) return std::nullopt;
  const fs::path target = fs::read_symlink(link, error);
  return error ? link.string() : (fs::path(work_dir) / target).string();
}

bool free_name(const std::string& hook) {
  return tensor_file(hook) != kModel && tensor_file(hook) != kOptimizer;
}

void remove_checkpoint(const std::string& folder) {
  const fs::path path(folder),
      away = path.parent_path() / ("." + path.filename().string() + ".old");
  std::error_code error;  // a checkpoint too many is no reason to end a run
  fs::remove_all(away, error);
  fs::rename(path, away, error);
  fs::remove_all(error ? path : away, error);
}

void remove_remains(const std::string& work_dir) {
  std::vector<fs::path> remains;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(work_dir, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(".step_")) continue;
    const fs::path step = entry.path().parent_path() / entry.path().stem().string().substr(1);
    if (entry.path().extension() == ".replaced" && !fs::exists(step)) {
      fs::rename(entry.path(), step, error);  // killed between two renames: the old one is whole
    } else {
      remains.push_back(entry.path());
    }
  }
  for (const fs::path& path : remains) fs::remove_all(path, error);
}

namespace {

std::string served_by(const fs::path& checkpoint) {
  const fs::path manifest = checkpoint / kManifest;
  if (!fs::is_regular_file(manifest)) return checkpoint / kModel;
  return checkpoint / fs::path(read_json(manifest).value("served", kModel)).filename();
}

}  // namespace

std::string weights_of(const std::string& path, const std::string& sha256) {
  if (io::is_pretrained_name(path)) return io::fetch_pretrained(path, sha256);
  if (fs::is_regular_file(path)) return path;
  if (!fs::is_directory(path)) throw CheckpointError(path + ": no such file or folder");
  if (fs::is_regular_file(fs::path(path) / kModel)) return served_by(path);
  if (const auto hub = io::weights_in(path)) return *hub;
  if (const auto best = best_checkpoint(path)) return served_by(*best);
  if (const auto newest = newest_checkpoint(path)) return served_by(*newest);
  throw CheckpointError(path + ": has no checkpoint (step_N folder); train first, or give weights");
}

}  // namespace strata::engine
