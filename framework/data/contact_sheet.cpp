#include "framework/data/contact_sheet.hpp"

#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "framework/data/mats.hpp"
#include "framework/data/pixels.hpp"

namespace strata::data {

namespace {

constexpr int kGap = 4, kTitle = 16;
constexpr double kFont = 0.38;

void write_words(cv::Mat& sheet, std::string text, int x, int y, int width) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  auto length = [](const std::string& words) {
    int below = 0;
    return cv::getTextSize(words, cv::FONT_HERSHEY_SIMPLEX, kFont, 1, &below).width;
  };
  if (length(text) > width) {  // the end of a name tells more than its beginning
    while (!text.empty() && length("..." + text) > width) text.erase(0, 1);
    text = "..." + text;
  }
  cv::putText(sheet, text, {x, y + kTitle - 5}, cv::FONT_HERSHEY_SIMPLEX, kFont, cv::Scalar::all(0),
              1, cv::LINE_AA);
}

}  // namespace

at::Tensor contact_sheet(const std::vector<SheetRow>& rows, const std::vector<SheetColour>& legend,
                         std::int64_t cell) {
  std::size_t across = 1;
  for (const SheetRow& row : rows) across = std::max(across, row.pictures.size());
  const int side = static_cast<int>(cell);
  const int width = static_cast<int>(across) * (side + kGap), height = side + kTitle + kGap;
  const auto count = static_cast<int>(std::max<std::size_t>(1, rows.size()));
  const int columns =
      std::clamp(static_cast<int>(std::lround(std::sqrt(1.5 * count * height / width))), 1, count);
  const int lines = (count + columns - 1) / columns;
  // A sheet of one small strip is still wide enough for its legend.
  const int sheet_width = std::max(columns * (width + kGap) + kGap, 320);
  constexpr int kEntry = 160;
  const int entries = std::max(1, sheet_width / kEntry);
  const int legend_lines = (static_cast<int>(legend.size()) + entries - 1) / entries;
  at::Tensor sheet = at::full(
      {lines * (height + kGap) + kGap + legend_lines * kTitle, sheet_width, 3}, 255, at::kByte);
  cv::Mat paper = mat_of(sheet);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const int left = kGap + static_cast<int>(i) % columns * (width + kGap);
    const int top = kGap + static_cast<int>(i) / columns * (height + kGap);
    write_words(paper, rows[i].title, left, top, width - kGap);
    for (std::size_t k = 0; k < rows[i].pictures.size(); ++k) {
      const at::Tensor& picture = rows[i].pictures[k];
      const double factor = static_cast<double>(side) /
                            static_cast<double>(std::max(picture.size(0), picture.size(1)));
      auto scaled = [&](std::int64_t pixels) {
        return std::max<std::int64_t>(1, std::llround(static_cast<double>(pixels) * factor));
      };
      const at::Tensor small =
          resize_image(picture, scaled(picture.size(0)), scaled(picture.size(1)),
                       factor < 1 ? "area" : "nearest");
      const cv::Mat mat = mat_of(small);
      mat.copyTo(paper(
          cv::Rect(left + static_cast<int>(k) * (side + kGap), top + kTitle, mat.cols, mat.rows)));
    }
  }
  for (std::size_t i = 0; i < legend.size(); ++i) {
    const int x = kGap + static_cast<int>(i) % entries * kEntry;
    const int y = lines * (height + kGap) + static_cast<int>(i) / entries * kTitle;
    const auto& c = legend[i].colour;
    const cv::Rect box(x, y + 2, 12, 12);
    const cv::Scalar colour(static_cast<double>(c[0]), static_cast<double>(c[1]),
                            static_cast<double>(c[2]));
    cv::rectangle(paper, box, colour, cv::FILLED);
    cv::rectangle(paper, box, cv::Scalar::all(128));  // white is a colour too
    write_words(paper, legend[i].name, x + 16, y, kEntry - 20);
  }
  return sheet;
}

}  // namespace strata::data
