// The labels that a semantic change is described by: classes at each of two dates, and where
// anything changed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/spec.hpp"

namespace strata {

/// The two semantic labels `targets`, or, left empty, the first of date 0 and the first of date 1.
/// Throws OptionError("targets", …) unless there are two, of the same classes.
STRATA_API std::vector<LabelSpec> semantic_labels(const LabelSpecs& labels,
                                                  const std::vector<std::string>& targets);

/// The label `change`, or, left empty, the first of role "change"; nullopt when there is none.
/// Throws OptionError("change", …) for a name that is not declared.
STRATA_API std::optional<LabelSpec> change_label(const LabelSpecs& labels,
                                                 const std::string& change);

}  // namespace strata
