#include "framework/inference/slide.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace strata::inference {
namespace {

// Rows of a block: what is made of sums should be small beside them.
constexpr std::int64_t kMostRows = 64, kFewestRows = 8;
// Of labels only the windows tell how many classes there are.
constexpr std::int64_t kPlanesOfLabels = 64;

/// The windows along one axis, and what each of their pixels weighs.
struct Axis {
  std::int64_t size = 0, window = 0;
  std::vector<std::int64_t> starts;
  std::vector<std::vector<double>> weights;  // of each window
};

// The share of window i for "center": up to the middle of its overlap with the next one.
std::vector<double> inner_share(const Axis& axis, std::size_t i) {
  auto middle = [&](std::size_t k) {
    return (axis.starts[k + 1] + axis.starts[k] + axis.window) / 2;
  };
  const std::int64_t begin = i == 0 ? 0 : middle(i - 1);
  const std::int64_t end = i + 1 == axis.starts.size() ? axis.size : middle(i);
  std::vector<double> share(static_cast<std::size_t>(axis.window));
  for (std::int64_t x = begin; x < end; ++x)
    share[static_cast<std::size_t>(x - axis.starts[i])] = 1;
  return share;
}

Axis make_axis(std::int64_t size, std::int64_t window, std::int64_t stride,
               const std::string& kind) {
  Axis axis{size, std::min(window, size), window_starts(size, window, stride), {}};
  std::vector<double> weights(static_cast<std::size_t>(axis.window), 1.0);
  if (kind == "gaussian") {
    // Deviation of an eighth of the window: nnU-Net's (Isensee et al., Nature Methods 2021).
    const double centre = static_cast<double>(axis.window - 1) / 2;
    const double sigma = static_cast<double>(axis.window) / 8;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double distance = (static_cast<double>(i) - centre) / sigma;
      weights[i] = std::exp(-distance * distance / 2);
    }
  }
  for (std::size_t i = 0; i < axis.starts.size(); ++i) {
    axis.weights.push_back(kind == "center" ? inner_share(axis, i) : weights);
  }
  return axis;
}

at::Tensor line(const std::vector<double>& values, const at::TensorOptions& options) {
  return at::tensor(values, at::kDouble).to(options.device()).to(options.dtype());
}

/// Sums over the rows that windows still reach.
class Strip {
 public:
  Strip(const Axis& down, const Axis& right) : down_(down), right_(right) {}

  void add(std::size_t row, std::size_t column, const Outputs& outputs) {
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Output& output = outputs[i].second;
      const at::Tensor part = summands(output);
      if (sums_.size() <= i) sums_.push_back({outputs[i].first, output, {}});
      at::Tensor& sum = sums_[i].sum;
      sums_[i].like.data = at::Tensor();
      if (!sum.defined()) {
        sum = at::zeros({part.size(0), part.size(1), down_.window, right_.size}, part.options());
      } else if (sum.size(1) < part.size(1)) {
        sum = at::constant_pad_nd(sum, {0, 0, 0, 0, 0, part.size(1) - sum.size(1)});
      }
      at::Tensor place =
          sum.narrow(1, 0, part.size(1)).narrow(3, right_.starts[column], right_.window);
      place.addcmul_(part, weight_of(row, column, part.options()));
    }
  }

  /// What becomes of rows that no window reaches any more.
  struct Release {
    std::int64_t top, rows;      // their place
    std::int64_t left, columns;  // what is complete of them, in the strip
    std::int64_t rows_at_once;
  };
  /// Hands the first rows out, few at a time, and forgets them.
  void release(const Release& what,
               const std::function<void(std::int64_t top, const Outputs&)>& write) {
    const std::int64_t rows = what.rows;
    for (std::int64_t begin = 0; begin < rows; begin += what.rows_at_once) {
      Outputs block = finished(what.top, begin, std::min(what.rows_at_once, rows - begin));
      for (auto& [name, output] : block) {
        output.data = output.data.narrow(-1, what.left, what.columns);
      }
      write(what.top + begin, block);
    }
    const std::int64_t kept = down_.window - rows;
    for (Part& part : sums_) {
      const at::Tensor rest = part.sum.narrow(2, rows, kept).clone();
      part.sum.narrow(2, 0, kept).copy_(rest);
      part.sum.narrow(2, kept, rows).zero_();
    }
  }

 private:
  struct Part {
    std::string name;
    Output like;
    at::Tensor sum;
  };

  Outputs finished(std::int64_t top, std::int64_t begin, std::int64_t rows) const {
    Outputs outputs;
    for (const Part& part : sums_) {
      const at::Tensor sum = part.sum.narrow(2, begin, rows);
      Output output = part.like;
      if (output.kind == Output::Kind::label) {
        output.data = sum.argmax(1);
      } else {
        output.data = sum / (line(totals(down_, top + begin, rows), sum.options()).unsqueeze(1) *
                             line(totals(right_, 0, right_.size), sum.options()));
      }
      outputs.emplace_back(part.name, std::move(output));
    }
    return outputs;
  }

  at::Tensor weight_of(std::size_t row, std::size_t column,
                       const at::TensorOptions& options) const {
    return line(down_.weights[row], options).unsqueeze(1) * line(right_.weights[column], options);
  }

  // Weights of all windows together, at each pixel of a stretch of the axis. The weight of a window
  // is a product over both axes and windows form a grid, so the total is a product as well.
  static std::vector<double> totals(const Axis& axis, std::int64_t begin, std::int64_t count) {
    std::vector<double> total(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < axis.starts.size(); ++i) {
      const std::int64_t from = std::max(axis.starts[i], begin);
      const std::int64_t to = std::min(axis.starts[i] + axis.window, begin + count);
      for (std::int64_t x = from; x < to; ++x) {
        total[static_cast<std::size_t>(x - begin)] +=
            axis.weights[i][static_cast<std::size_t>(x - axis.starts[i])];
      }
    }
    return total;
  }

  const Axis &down_, &right_;
  std::vector<Part> sums_;
};

}  // namespace

std::vector<std::int64_t> window_starts(std::int64_t size, std::int64_t window,
                                        std::int64_t stride) {
  std::vector<std::int64_t> starts;
  const std::int64_t count = std::max<std::int64_t>(size - window + stride - 1, 0) / stride + 1;
  for (std::int64_t i = 0; i < count; ++i) {
    starts.push_back(std::max<std::int64_t>(std::min(i * stride, size - window), 0));
  }
  return starts;
}

namespace {

/// The windows of a height x width picture.
struct Grid {
  Axis down, right;

  Grid(const InferenceOptions& options, std::int64_t height, std::int64_t width) {
    const std::vector<std::int64_t> crop =
        options.slides() ? *options.crop_size : std::vector<std::int64_t>{height, width};
    const std::vector<std::int64_t> stride = options.slides() ? options.step() : crop;
    down = make_axis(height, crop[0], stride[0], options.window_weights);
    right = make_axis(width, crop[1], stride[1], options.window_weights);
  }
};

/// Windows first to last of an axis, as an axis of its own.
Axis part_of(const Axis& axis, std::size_t first, std::size_t last) {
  Axis part{axis.starts[last] + axis.window - axis.starts[first], axis.window, {}, {}};
  for (std::size_t i = first; i <= last; ++i) {
    part.starts.push_back(axis.starts[i] - axis.starts[first]);
    part.weights.push_back(axis.weights[i]);
  }
  return part;
}

SlidePlan plan_grid(const Grid& grid, const InferenceOptions& options, std::int64_t planes) {
  const Axis &down = grid.down, &right = grid.right;
  const std::size_t columns = right.starts.size();
  const std::int64_t pixel = planes * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t window = pixel * down.window * right.window;
  const std::int64_t overlap =
      down.starts.size() > 1 ? down.window - (down.starts[1] - down.starts[0]) : 0;
  const std::int64_t budget = options.memory.bytes;
  SlidePlan plan;
  plan.window_batch = options.window_batch;
  plan.rows_at_once = kMostRows;
  if (budget > 0) {
    // An eighth for results under way, an eighth for rows that are done, the rest for sums.
    plan.window_batch = std::clamp<std::int64_t>(budget / 8 / window, 1, options.window_batch);
    plan.rows_at_once =
        std::clamp<std::int64_t>(budget / 8 / (2 * pixel * right.size), kFewestRows, kMostRows);
  }
  // Of a column of pixels: sums, the copy of those that stay, and rows that are done, twice.
  const std::int64_t column = pixel * (down.window + overlap + 2 * plan.rows_at_once);
  const std::int64_t beside = plan.window_batch * window;
  const std::int64_t room =
      budget > 0 ? std::max<std::int64_t>((budget - beside) / column, 0) : right.size;
  for (std::size_t first = 0, last = 0; plan.panels.empty() || last + 1 < columns;) {
    const std::int64_t left = plan.panels.empty() ? 0 : plan.panels.back().right;
    const std::size_t before = plan.panels.empty() ? 0 : plan.panels.back().last + 1;
    while (right.starts[first] + right.window <= left) ++first;
    last = std::max(before, first);
    const auto size = [&](std::size_t to) {
      return right.starts[to] + right.window - right.starts[first];
    };
    while (last + 1 < columns && size(last + 1) <= room) ++last;
    plan.panels.push_back(
        {first, last, left, last + 1 < columns ? right.starts[last + 1] : right.size});
    plan.bytes = std::max(plan.bytes, column * size(last) + beside);
  }
  return plan;
}

void slide_panel(const Grid& grid, const SlidePlan& plan, const SlidePlan::Panel& panel,
                 const WindowSource& read, const Predict& predict, const BlockSink& write) {
  const Axis& down = grid.down;
  const Axis right = part_of(grid.right, panel.first, panel.last);
  const std::int64_t strip_left = grid.right.starts[panel.first];
  const std::size_t rows = down.starts.size(), columns = right.starts.size();
  Strip strip(down, right);
  const auto batch = static_cast<std::size_t>(plan.window_batch);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t first = 0; first < columns; first += batch) {
      std::vector<Batch> windows;
      for (std::size_t column = first; column < std::min(first + batch, columns); ++column) {
        windows.push_back(
            read(down.starts[row], strip_left + right.starts[column], down.window, right.window));
      }
      const Outputs outputs = predict(joined(windows));
      for (std::size_t i = 0; i < windows.size(); ++i) {
        Outputs own = outputs;
        for (auto& [name, output] : own) {
          output.data = output.data.narrow(0, static_cast<std::int64_t>(i), 1);
        }
        strip.add(row, first + i, own);
      }
    }
    const std::int64_t top = down.starts[row];
    const std::int64_t next = row + 1 < rows ? down.starts[row + 1] : down.size;
    strip.release(
        {top, next - top, panel.left - strip_left, panel.right - panel.left, plan.rows_at_once},
        [&](std::int64_t at, const Outputs& block) { write(at, panel.left, block); });
  }
}

/// Float numbers a pixel of results.
std::int64_t planes_of(const Outputs& outputs) {
  std::int64_t planes = 0;
  for (const auto& [name, output] : outputs) {
    planes += output.kind == Output::Kind::label ? kPlanesOfLabels : output.data.size(1);
  }
  return planes;
}

}  // namespace

SlidePlan plan_slide(const InferenceOptions& options, std::int64_t height, std::int64_t width,
                     std::int64_t planes) {
  return plan_grid(Grid(options, height, width), options, planes);
}

void slide(const InferenceOptions& options, std::int64_t height, std::int64_t width,
           const WindowSource& read, const Predict& predict, const BlockSink& write) {
  const Grid grid(options, height, width);
  if (grid.down.starts.size() == 1 && grid.right.starts.size() == 1) {
    write(0, 0, predict(read(0, 0, height, width)));
    return;
  }
  // One window tells how many numbers there are; without a limit that does not matter.
  const std::int64_t planes =
      options.memory.bytes > 0 ? planes_of(predict(read(0, 0, grid.down.window, grid.right.window)))
                               : 1;
  const SlidePlan plan = plan_grid(grid, options, planes);
  for (const SlidePlan::Panel& panel : plan.panels) {
    slide_panel(grid, plan, panel, read, predict, write);
  }
}

Outputs slide(const InferenceOptions& options, const Batch& batch, const Predict& predict) {
  InferenceOptions unlimited = options;
  unlimited.memory = {};  // the whole result is in memory in any case
  std::vector<Outputs> samples;
  for (std::int64_t n = 0; n < batch.size(); ++n) {
    const Batch sample = part_of(batch, n, 1);
    const std::int64_t height = sample.height(), width = sample.width();
    auto read = [&](std::int64_t top, std::int64_t left, std::int64_t h, std::int64_t w) {
      Batch window = sample;
      window.targets.clear();
      for (at::Tensor& images : window.images) {
        images = images.narrow(2, top, h).narrow(3, left, w);
      }
      window.meta.front().height = h;
      window.meta.front().width = w;
      return window;
    };
    Outputs whole;
    slide(unlimited, height, width, read, predict,
          [&](std::int64_t top, std::int64_t, const Outputs& rows) {
            if (whole.empty()) {
              whole = rows;
              if (rows.front().second.data.size(-2) == height) return;
              for (auto& [name, output] : whole) {
                std::vector<std::int64_t> shape = output.data.sizes().vec();
                shape[shape.size() - 2] = height;
                output.data = at::empty(shape, output.data.options());
              }
            }
            for (std::size_t i = 0; i < rows.size(); ++i) {
              const at::Tensor& part = rows[i].second.data;
              whole[i].second.data.narrow(-2, top, part.size(-2)).copy_(part);
            }
          });
    samples.push_back(std::move(whole));
  }
  Outputs all = samples.front();
  if (samples.size() == 1) return all;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::vector<at::Tensor> data;
    for (const Outputs& sample : samples) data.push_back(sample[i].second.data);
    all[i].second.data = at::cat(data);
  }
  return all;
}

}  // namespace strata::inference
