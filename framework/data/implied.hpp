// What the labels of a sample say of one another: change that two semantic maps imply, semantic
// maps that count only where something changed.
#pragma once

#include <string>

#include "framework/data/sample.hpp"

namespace strata::data {

/// The change label of two semantic maps, [H, W] uint8. `rule` "differs": 1 where their classes
/// differ, ignored where either is. "labelled": 1 where either holds a class, else 0, as in SECOND,
/// which names classes only where something changed.
STRATA_API at::Tensor implied_change(const std::string& rule, const SampleTarget& before,
                                     const SampleTarget& after, const LabelSpec& change);

/// `semantic` is ignored wherever `change` says that nothing changed.
STRATA_API void keep_changed(SampleTarget& semantic, const SampleTarget& change);

}  // namespace strata::data
