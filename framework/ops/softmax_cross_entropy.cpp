#include "framework/ops/softmax_cross_entropy.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/ops/softmax_cross_entropy_cpu.hpp"

namespace strata::ops {

namespace {

// Pixels of one task: enough to hide its cost, few enough to spread. Fixed, so that sums do not
// depend on the number of threads.
constexpr std::int64_t kRunPixels = 4096;
constexpr std::int64_t kNoBadLabel = std::numeric_limits<std::int64_t>::min();

struct Inputs {
  at::Tensor logits, target, class_weight, pixel_weight;
  CrossEntropyOptions options;
};

bool channels_last(const at::Tensor& logits) {
  return !logits.is_contiguous() && logits.is_contiguous(at::MemoryFormat::ChannelsLast);
}

// Row-major and channels-last logits are taken as they are.
at::Tensor dense(const at::Tensor& logits) {
  return channels_last(logits) ? logits : logits.contiguous();
}

// Calls body(run, index of the run, offset of its first logit) for every run of pixels.
template <class T, class Body>
void for_each_run(const Inputs& in, const Body& body) {
  const std::int64_t plane = in.logits.size(2) * in.logits.size(3);
  const std::int64_t a_sample = (plane + kRunPixels - 1) / kRunPixels;
  const std::int64_t channels = in.logits.size(1);
  const bool last = channels_last(in.logits);
  at::parallel_for(0, in.logits.size(0) * a_sample, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t sample = i / a_sample;
      const std::int64_t first = i % a_sample * kRunPixels;
      cpu::PixelRun<T> run;
      run.channels = channels;
      run.pixels = std::min(kRunPixels, plane - first);
      run.channel_stride = last ? 1 : plane;
      run.pixel_stride = last ? channels : 1;
      const std::int64_t offset = sample * channels * plane + first * run.pixel_stride;
      const std::int64_t pixel = sample * plane + first;
      run.logits = in.logits.const_data_ptr<T>() + offset;
      run.target = in.target.const_data_ptr<std::int64_t>() + pixel;
      if (in.class_weight.defined()) run.class_weight = in.class_weight.const_data_ptr<T>();
      if (in.pixel_weight.defined()) {
        run.pixel_weight = in.pixel_weight.const_data_ptr<T>() + pixel;
      }
      run.ignore_index = in.options.ignore_index;
      run.smoothing = static_cast<T>(in.options.label_smoothing);
      body(run, i, offset, pixel);
    }
  });
}

std::int64_t runs_of(const at::Tensor& logits) {
  const std::int64_t plane = logits.size(2) * logits.size(3);
  return logits.size(0) * ((plane + kRunPixels - 1) / kRunPixels);
}

at::Tensor forward_cpu(const Inputs& in, const at::Tensor& log_sum_exp) {
  const auto runs = static_cast<std::size_t>(runs_of(in.logits));
  std::vector<double> sums(runs, 0.0);
  std::vector<std::int64_t> bad(runs, kNoBadLabel);
  AT_DISPATCH_FLOATING_TYPES(in.logits.scalar_type(), "softmax_cross_entropy", [&] {
    scalar_t* lse = log_sum_exp.mutable_data_ptr<scalar_t>();
    for_each_run<scalar_t>(
        in, [&](const auto& run, std::int64_t i, std::int64_t, std::int64_t pixel) {
          const auto index = static_cast<std::size_t>(i);
          sums[index] = cpu::cross_entropy_forward(run, lse + pixel, &bad[index]);
        });
  });
  for (const std::int64_t label : bad) {
    if (label == kNoBadLabel) continue;
    throw DataError(
        fmt::format("a label map holds {}, but there are {} classes and ignore_index "
                    "is {}; see data.labels",
                    label, in.logits.size(1), in.options.ignore_index));
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return at::scalar_tensor(total, in.logits.options());
}

class SoftmaxCrossEntropy : public torch::autograd::Function<SoftmaxCrossEntropy> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& target, const std::optional<at::Tensor>& class_weight,
                            const std::optional<at::Tensor>& pixel_weight,
                            std::int64_t ignore_index, double label_smoothing) {
    const Inputs in{logits,
                    target,
                    class_weight.value_or(at::Tensor()),
                    pixel_weight.value_or(at::Tensor()),
                    {ignore_index, label_smoothing}};
    const at::Tensor log_sum_exp = at::empty(target.sizes(), logits.options());
    const at::Tensor sum = forward_cpu(in, log_sum_exp);
    context->save_for_backward({logits, target, in.class_weight, in.pixel_weight, log_sum_exp});
    context->saved_data["ignore_index"] = ignore_index;
    context->saved_data["label_smoothing"] = label_smoothing;
    return sum;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const Inputs in{saved[0],
                    saved[1],
                    saved[2],
                    saved[3],
                    {context->saved_data["ignore_index"].toInt(),
                     context->saved_data["label_smoothing"].toDouble()}};
    const double scale = grads[0].item<double>();
    at::Tensor grad = at::empty(
        in.logits.sizes(), in.logits.options(),
        channels_last(in.logits) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    AT_DISPATCH_FLOATING_TYPES(in.logits.scalar_type(), "softmax_cross_entropy_backward", [&] {
      const scalar_t* lse = saved[4].const_data_ptr<scalar_t>();
      scalar_t* out = grad.mutable_data_ptr<scalar_t>();
      for_each_run<scalar_t>(in, [&](const auto& run, std::int64_t, std::int64_t offset,
                                     std::int64_t pixel) {
        cpu::cross_entropy_backward(run, lse + pixel, static_cast<scalar_t>(scale), out + offset);
      });
    });
    return {grad, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor softmax_cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                                 const at::Tensor& class_weight, const at::Tensor& pixel_weight,
                                 const CrossEntropyOptions& options) {
  if (!logits.is_cpu()) {
    at::Tensor terms = at::cross_entropy_loss(logits, target, class_weight, at::Reduction::None,
                                              options.ignore_index, options.label_smoothing);
    return (pixel_weight.defined() ? terms * pixel_weight : terms).sum();
  }
  const auto as_logits = [&](const at::Tensor& weight) -> std::optional<at::Tensor> {
    if (!weight.defined()) return std::nullopt;
    return weight.to(logits.scalar_type()).contiguous();
  };
  return SoftmaxCrossEntropy::apply(dense(logits), target.contiguous(), as_logits(class_weight),
                                    as_logits(pixel_weight), options.ignore_index,
                                    options.label_smoothing);
}

at::Tensor correct_pixels(const at::Tensor& logits, const at::Tensor& target,
                          std::int64_t ignore_index) {
  const auto type = logits.scalar_type();
  if (!logits.is_cpu() || (type != at::kFloat && type != at::kDouble)) {
    return logits.argmax(1).eq(target).logical_and_(target.ne(ignore_index)).sum();
  }
  const Inputs in{dense(logits), target.contiguous(), {}, {}, {ignore_index, 0.0}};
  std::vector<std::int64_t> counts(static_cast<std::size_t>(runs_of(in.logits)), 0);
  AT_DISPATCH_FLOATING_TYPES(type, "correct_pixels", [&] {
    for_each_run<scalar_t>(in, [&](const auto& run, std::int64_t i, std::int64_t, std::int64_t) {
      counts[static_cast<std::size_t>(i)] = cpu::correct_pixels(run);
    });
  });
  std::int64_t total = 0;
  for (const std::int64_t count : counts) total += count;
  return at::scalar_tensor(total, at::TensorOptions().dtype(at::kLong));
}

}  // namespace strata::ops
