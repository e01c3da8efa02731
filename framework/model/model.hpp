// The abstract model that the engine trains, and what the engine tells it while training.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "framework/base/export.hpp"
#include "framework/base/philox.hpp"
#include "framework/model/batch.hpp"

namespace strata {

/// The engine's side of a training step. The default serves one process with one optimizer and no
/// accumulation, and tests.
class STRATA_API TrainContext {
 public:
  virtual ~TrainContext();

  std::int64_t step_number = 0;  // optimizer steps done before this one
  Philox random{0, 0};           // draws of this step (sampled points, masks)

  /// A number that a label map [N, H, W] decides: how many of its pixels are valid, say.
  using Count = std::function<at::Tensor(const at::Tensor& labels)>;
  /// The divisor that an average over `count` (chosen pixels, masks; a scalar tensor, no sync) must
  /// use so that it is an average over all ranks.
  virtual at::Tensor global_count(const at::Tensor& count) { return count; }
  /// The same for a count that the labels alone decide, over the accumulated batches too: `count`
  /// of `labels`, which are a target of this batch or derived from one, is averaged with that of the
  /// same target of every other batch of the step. The engine averages over batches, so that sum / divisor becomes
  /// the average over all pixels of the step, however unevenly the valid ones are spread.
  virtual at::Tensor global_count(const at::Tensor& labels, const Count& count) {
    return global_count(count(labels));
  }
  /// Says of labels that the model made from this batch's targets (padded them, say) how it makes
  /// those of any other batch, so that the count above reaches them.
  using Derive = std::function<at::Tensor(const Batch&)>;
  virtual void derived(const at::Tensor& labels, Derive derive) {
    (void)labels;
    (void)derive;
  }
  /// Back-propagates a loss.
  virtual void backward(const at::Tensor& loss);
  /// Steps one optimizer of several by name; adversarial models call it from train_step.
  virtual void step(const std::string& optimizer) { (void)optimizer; }
};

/// Collects named intermediate tensors ("feat.0", "out.decode_head.logits") for tools/parity and
/// tests; models record only when one is attached.
using Probe = std::function<void(const std::string& name, const at::Tensor& value)>;

/// A whole model: composed by a segmentor, trained and served by the engine.
class STRATA_API Model : public torch::nn::Module {
 public:
  ~Model() override;

  /// Named loss terms of a batch with targets.
  virtual Losses loss(const Batch& batch, TrainContext& context) = 0;
  /// Named results at the batch's own height and width. Called without gradients, in eval mode.
  virtual Outputs predict(const Batch& batch) = 0;
  /// Forward and backward of one (micro-)batch; the engine steps the optimizer afterwards.
  virtual Losses train_step(const Batch& batch, TrainContext& context);

  /// How many images (dates) a sample has.
  virtual std::int64_t dates() const { return 1; }

  void attach_probe(Probe probe) { probe_ = std::move(probe); }

 protected:
  void record(const std::string& name, const at::Tensor& value) const {
    if (probe_) probe_(name, value);
  }
  bool probing() const { return static_cast<bool>(probe_); }

 private:
  Probe probe_;
};

}  // namespace strata
