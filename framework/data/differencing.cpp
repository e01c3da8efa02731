#include "framework/data/differencing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <system_error>

#include "framework/base/error.hpp"

namespace strata::data {
namespace {

constexpr int kDistanceBins = 1024;
constexpr double kBinsPerLevel = 2;  // a threshold every half grey level
constexpr double kPictureBlur = 1.5;
constexpr double kDistanceBlur = 3;

struct DifferencingMethod {
  bool blur, gain, squared, smooth;

  [[nodiscard]] std::string name() const {
    return fmt::format("{}{}{}{}", blur ? fmt::format("blur {}, ", kPictureBlur) : "",
                       gain ? "gain, " : "", squared ? "L2" : "L1",
                       smooth ? fmt::format(", smooth {}", kDistanceBlur) : "");
  }
};

std::vector<DifferencingMethod> differencing_methods() {
  std::vector<DifferencingMethod> methods;
  for (int bits = 0; bits < 16; ++bits) {
    methods.push_back({(bits & 8) != 0, (bits & 4) != 0, (bits & 2) != 0, (bits & 1) != 0});
  }
  return methods;
}

/// How many unchanged and changed pixels have a distance in each bin.
struct DistanceCounts {
  std::array<std::array<std::int64_t, kDistanceBins>, 2> of{};
};

cv::Mat read_picture_to_difference(const std::filesystem::path& path, int flags) {
  const cv::Mat image = cv::imread(path.string(), flags);
  if (image.empty()) {
    throw DataError(path.string() + ": is missing or no readable picture");
  }
  return image;
}

/// Brings each channel of `image` to the mean and deviation of `target`.
void match_gain_of(cv::Mat& image, const cv::Mat& target) {
  cv::Scalar mean, deviation, wanted_mean, wanted_deviation;
  cv::meanStdDev(image, mean, deviation);
  cv::meanStdDev(target, wanted_mean, wanted_deviation);
  cv::Scalar factor, offset;
  for (int c = 0; c < 3; ++c) {
    factor[c] = wanted_deviation[c] / std::max(deviation[c], 1e-6);
    offset[c] = wanted_mean[c] - factor[c] * mean[c];
  }
  cv::multiply(image, factor, image);
  cv::add(image, offset, image);
}

void count_pair(const std::filesystem::path& folder, const std::string& name,
                std::vector<DistanceCounts>& counts) {
  std::array<cv::Mat, 2> pictures;
  for (std::size_t date = 0; date < 2; ++date) {
    read_picture_to_difference(folder / (date == 0 ? "A" : "B") / name, cv::IMREAD_COLOR)
        .convertTo(pictures[date], CV_32FC3);
  }
  const cv::Mat label = read_picture_to_difference(folder / "label" / name, cv::IMREAD_GRAYSCALE);
  if (pictures[0].size() != pictures[1].size() || pictures[0].size() != label.size()) {
    throw DataError((folder / "A" / name).string() +
                    ": the two pictures and the label differ in size");
  }
  const std::vector<DifferencingMethod> methods = differencing_methods();
  for (std::size_t m = 0; m < methods.size(); ++m) {
    const DifferencingMethod& method = methods[m];
    cv::Mat a = pictures[0];
    cv::Mat b = pictures[1].clone();
    if (method.blur) {
      cv::GaussianBlur(pictures[0], a, {}, kPictureBlur);
      cv::GaussianBlur(pictures[1], b, {}, kPictureBlur);
    }
    if (method.gain) {
      match_gain_of(b, a);
    }
    cv::Mat distance(a.size(), CV_32F);
    for (int y = 0; y < a.rows; ++y) {
      const auto* p = a.ptr<cv::Vec3f>(y);
      const auto* q = b.ptr<cv::Vec3f>(y);
      auto* d = distance.ptr<float>(y);
      for (int x = 0; x < a.cols; ++x) {
        const cv::Vec3f delta = p[x] - q[x];
        d[x] =
            method.squared
                ? std::sqrt((delta[0] * delta[0] + delta[1] * delta[1] + delta[2] * delta[2]) / 3)
                : (std::abs(delta[0]) + std::abs(delta[1]) + std::abs(delta[2])) / 3;
      }
    }
    if (method.smooth) {
      cv::GaussianBlur(distance, distance, {}, kDistanceBlur);
    }
    for (int y = 0; y < a.rows; ++y) {
      const auto* d = distance.ptr<float>(y);
      const auto* l = label.ptr<std::uint8_t>(y);
      for (int x = 0; x < a.cols; ++x) {
        if (l[x] != 255) {
          const auto bin =
              static_cast<std::size_t>(std::clamp(d[x] * kBinsPerLevel, 0.0, kDistanceBins - 1.0));
          ++counts[m].of[l[x] != 0 ? 1 : 0][bin];
        }
      }
    }
  }
}

std::vector<DistanceCounts> count_distances(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "A", failure)) {
    if (entry.path().extension() == ".png") {
      names.push_back(entry.path().filename().string());
    }
  }
  if (names.empty()) {
    throw DataError((folder / "A").string() +
                    ": holds no PNG pictures; expected A/, B/ and label/ in " + folder.string());
  }
  std::vector<DistanceCounts> counts(differencing_methods().size());
  for (const std::string& name : names) {
    count_pair(folder, name, counts);
  }
  return counts;
}

/// F1 of calling changed what lies in a bin >= first, for every first.
std::vector<double> f1_by_threshold(const DistanceCounts& counts) {
  std::int64_t positives = 0;
  for (const std::int64_t count : counts.of[1]) {
    positives += count;
  }
  std::vector<double> f1(kDistanceBins);
  std::int64_t hits = 0;
  std::int64_t called = 0;
  for (std::size_t bin = kDistanceBins; bin-- > 0;) {
    hits += counts.of[1][bin];
    called += counts.of[0][bin] + counts.of[1][bin];
    f1[bin] = called + positives == 0
                  ? 0
                  : 2.0 * static_cast<double>(hits) / static_cast<double>(called + positives);
  }
  return f1;
}

}  // namespace

std::vector<Differencing> fit_differencing(const std::filesystem::path& train,
                                           const std::filesystem::path& test) {
  const std::vector<DistanceCounts> fitted = count_distances(train);
  const std::vector<DistanceCounts> held_out = count_distances(test);
  const std::vector<DifferencingMethod> methods = differencing_methods();
  std::vector<Differencing> results;
  for (std::size_t m = 0; m < methods.size(); ++m) {
    const std::vector<double> f1 = f1_by_threshold(fitted[m]);
    const auto best = static_cast<std::size_t>(std::max_element(f1.begin(), f1.end()) - f1.begin());
    results.push_back({methods[m].name(), static_cast<double>(best) / kBinsPerLevel, f1[best],
                       f1_by_threshold(held_out[m])[best]});
  }
  std::stable_sort(
      results.begin(), results.end(),
      [](const Differencing& p, const Differencing& q) { return p.train_f1 > q.train_f1; });
  return results;
}

}  // namespace strata::data
