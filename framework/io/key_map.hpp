// Names of weights in other layouts (timm, torchvision, …), translated to ours by rules.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::io {

/// Without `*`: a name that is `from`, or starts with it and a dot, starts with `to` instead. With:
/// a name that the glob matches as a whole becomes `to`, whose stars stand for what those of `from`
/// matched, in their order. `drop` leaves the tensor out.
struct KeyRule {
  std::string from, to;
  bool drop = false;
  /// What becomes of the values, where the other layout orders them in another way; and back.
  at::Tensor (*change)(const at::Tensor&) = nullptr;
  at::Tensor (*undo)(const at::Tensor&) = nullptr;
  /// Of tensors that become one, joined along their first axis: the place in it, from 1.
  int join = 0;
};

/// "a.** => b.**". Throws UserError when it is no such rule, or `to` has more stars than `from`.
STRATA_API KeyRule parse_rule(const std::string& text);

/// Rules ready for many names. The first rule that fits decides; a name that none fits stays.
class STRATA_API KeyRules {
 public:
  explicit KeyRules(std::vector<KeyRule> rules);
  /// nullopt: dropped. `used`, when given, becomes the number of the rule, or -1.
  std::optional<std::string> rename(const std::string& name, std::ptrdiff_t* used = nullptr) const;
  /// The tensors under their new names, without the dropped ones, their values as the rules change
  /// them.
  TensorMap rename(const TensorMap& tensors) const;
  /// Values as rule number `used` changes them; themselves for -1.
  at::Tensor changed(const at::Tensor& values, std::ptrdiff_t used) const;
  /// The place in a joined tensor that rule number `used` gives; 0: a whole one.
  int place(std::ptrdiff_t used) const;

 private:
  std::vector<KeyRule> rules_;
  std::vector<std::size_t> globs_;
  std::vector<std::pair<std::string, std::size_t>> prefixes_;  // sorted, of equal ones the first
};

STRATA_API std::optional<std::string> rename(const std::string& name,
                                             const std::vector<KeyRule>& rules);
STRATA_API TensorMap rename(const TensorMap& tensors, const std::vector<KeyRule>& rules);
/// From our names to theirs; what `rules` drop cannot come back. Throws UserError when they join.
STRATA_API std::vector<KeyRule> inverse(const std::vector<KeyRule>& rules);

/// Rules under the name by which a config chooses them.
struct KeyLayout {
  std::string name;
  std::vector<KeyRule> rules;
};

/// A file's tensors under a model's names, and how they came to them.
struct KeyMatch {
  TensorMap tensors;
  std::string layout;       // "" for our own names
  std::string prefix;       // "model.", taken away before the rules
  std::size_t matched = 0;  // that are names of the model
  std::size_t outside = 0;  // that did not begin with `prefix`
  std::size_t dropped = 0;  // by the layout: classifiers
};

struct MatchOptions {
  std::vector<KeyLayout> layouts{{}};  // one without rules: our own names
  std::optional<std::string> prefix;   // only this one
  std::vector<std::string> likely;     // prefixes to try beside those that lead the file's names
  bool keep_outside = false;           // tensors outside the prefix stay, under their own names
};

/// Tries every layout, each without a prefix and with each that leads the file's names ("model.",
/// "backbone.encoder."), and takes the pair under which most names are among `names`; of equals the
/// one that leaves least unexpected, then the first.
STRATA_API KeyMatch match_keys(const TensorMap& tensors, const std::vector<std::string>& names,
                               const MatchOptions& options);

}  // namespace strata::io
