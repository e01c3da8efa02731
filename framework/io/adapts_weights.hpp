// Parameters whose shape follows from an option that a file of weights may have chosen otherwise.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "framework/base/export.hpp"

namespace strata::io {

/// A base of modules that can take such a parameter nevertheless (the position embedding of another
/// size of image), or that hold parts which weights for another purpose lack. load_state asks it,
/// with the name of a parameter or buffer inside this module ("pos_embed", "encoder.pos_embed"),
/// and its report lists what was done.
class STRATA_API AdaptsWeights {
 public:
  virtual ~AdaptsWeights();
  /// `loaded` in the shape of `own`; undefined when it cannot be. Called without gradients.
  virtual at::Tensor adapt_weight(const std::string& name, const at::Tensor& own,
                                  const at::Tensor& loaded) const;
  /// Whether pretrained weights may lack it, a level's norm in those of a classifier: it then keeps
  /// its fresh values (LoadOptions::pretrained).
  virtual bool may_be_missing(const std::string& name) const;
  /// Called when weights of any part of the model have just been loaded, without gradients.
  virtual void weights_loaded();
};

}  // namespace strata::io
