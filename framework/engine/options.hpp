// What a config says about the run itself: [train], [evaluate] and [runtime].
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "framework/config/schema.hpp"
#include "framework/inference/options.hpp"
#include "framework/metrics/metric.hpp"
#include "registry/registry.hpp"

namespace strata {

/// `train.clip_grad`: limits gradients before a step; `clip_grad = 1.0` limits the norm.
struct ClipGradOptions {
  std::optional<double> max_norm;
  std::optional<double> max_value;

  static constexpr const char* shorthand = "max_norm";
  static auto fields() {
    using config::field;
    return std::tuple{field("max_norm", &ClipGradOptions::max_norm,
                            "the 2-norm of all gradients together is scaled down to this")
                          .above(0),
                      field("max_value", &ClipGradOptions::max_value,
                            "each gradient element is cut to [-max_value, max_value]")
                          .above(0)};
  }
};

/// `train.amp`: mixed precision; `amp = "bf16"` names the type alone.
struct AmpOptions {
  std::string dtype = "bf16";
  double init_scale = 65536.0;
  std::int64_t growth_interval = 2000;

  static constexpr const char* shorthand = "dtype";
  static auto fields() {
    using config::field;
    return std::tuple{
        field("dtype", &AmpOptions::dtype,
              "what convolutions and products compute in; weights, losses and validation stay in "
              "float32")
            .one_of({"off", "bf16", "fp16"}),
        field("init_scale", &AmpOptions::init_scale,
              "of fp16: first factor on the loss, halved when a gradient overflows")
            .above(0),
        field("growth_interval", &AmpOptions::growth_interval,
              "of fp16: steps without overflow after which the factor is doubled")
            .at_least(1)};
  }
};

struct TrainOptions {
  std::optional<std::int64_t> steps;
  std::optional<std::int64_t> epochs;
  std::optional<std::int64_t> stop_at;
  std::int64_t accumulate = 1;
  std::optional<ClipGradOptions> clip_grad;
  std::optional<AmpOptions> amp;
  std::int64_t log_interval = 50;
  std::optional<std::int64_t> checkpoint_interval;
  std::int64_t keep_last = 1;
  std::string on_nan = "stop";
  bool tensorboard = true;

  static auto fields() {
    using config::field;
    return std::tuple{
        field("steps", &TrainOptions::steps, "optimizer steps of the run (or give `epochs`)")
            .at_least(1),
        field("epochs", &TrainOptions::epochs, "passes over the training set (or give `steps`)")
            .at_least(1),
        field("stop_at", &TrainOptions::stop_at,
              "end after this step as an interruption would: with a checkpoint to resume from")
            .at_least(1),
        field("accumulate", &TrainOptions::accumulate,
              "batches whose gradients are added up for one optimizer step")
            .at_least(1),
        field("clip_grad", &TrainOptions::clip_grad,
              "limit on the gradients: the largest norm, or a table"),
        field("amp", &TrainOptions::amp, "mixed precision: \"bf16\", \"fp16\", or a table"),
        field("log_interval", &TrainOptions::log_interval, "steps between log lines").at_least(1),
        field("checkpoint_interval", &TrainOptions::checkpoint_interval,
              "steps between checkpoints; left out: with each validation. The last step has one in "
              "any case")
            .at_least(1),
        field("keep_last", &TrainOptions::keep_last,
              "how many of the newest checkpoints stay; the best one stays besides")
            .at_least(1),
        field("on_nan", &TrainOptions::on_nan,
              "what to do when a loss is not finite: end with an error, or go on")
            .one_of({"stop", "ignore"}),
        field("tensorboard", &TrainOptions::tensorboard,
              "write scalars and pictures for TensorBoard, into work_dir/tensorboard")};
  }
};

struct EvaluateOptions {
  std::optional<std::int64_t> interval;
  std::optional<std::int64_t> interval_epochs;
  config::Named<Slot<Metric>> metrics;
  bool loss = false;
  std::string best;
  std::string best_rule = "auto";
  InferenceOptions inference;
  TtaOptions tta;

  static auto fields() {
    using config::field;
    return std::tuple{
        field("interval", &EvaluateOptions::interval,
              "steps between validations; left out: a tenth of the run, or an epoch with "
              "train.epochs. The last step has one in any case")
            .at_least(1),
        field("interval_epochs", &EvaluateOptions::interval_epochs,
              "epochs between validations, instead of `interval`")
            .at_least(1),
        field("metrics", &EvaluateOptions::metrics, "what is measured, by name"),
        field(
            "loss", &EvaluateOptions::loss,
            "also measure the loss: \"loss\" and its terms as \"loss.<term>\", means over samples"),
        field("best", &EvaluateOptions::best,
              "the number (\"miou\", \"f1.changed\", \"city.miou\" of a named set) that decides "
              "which checkpoint is the best; left out: the first that is of no class (miou)"),
        field("best_rule", &EvaluateOptions::best_rule,
              "whether more is better; auto: yes, unless the name has \"loss\" or \"error\"")
            .one_of({"auto", "max", "min"}),
        field("inference", &EvaluateOptions::inference,
              "pictures whole or in windows: in validation, test and predict"),
        field("tta", &EvaluateOptions::tta, "views of each picture that --tta merges")};
  }
};

struct RuntimeOptions {
  std::string work_dir;
  std::string device = "cpu";
  std::int64_t seed = 0;
  std::int64_t threads = 0;
  std::string memory_format = "auto";

  static auto fields() {
    using config::field;
    return std::tuple{
        field("work_dir", &RuntimeOptions::work_dir,
              "folder of the run, from the working directory; left out: work_dirs/<config name>"),
        field("device", &RuntimeOptions::device, "\"cpu\", \"cuda\" or \"cuda:K\""),
        field("seed", &RuntimeOptions::seed, "seed of everything random").at_least(0),
        field("threads", &RuntimeOptions::threads, "threads that compute; 0: one a physical core")
            .at_least(0),
        field("memory_format", &RuntimeOptions::memory_format,
              "layout of images and convolution weights; auto: channels-last")
            .one_of({"auto", "channels_last", "contiguous"})};
  }
};

}  // namespace strata
