// Semantic change as the SECOND data set codes it: a map a date, 0 where nothing changed, c + 1 for
// class c where something did.
#pragma once

#include <string>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::inference {

class STRATA_API ChangedOnly {
 public:
  /// Throws UserError unless a label of role "change" and a semantic one are declared.
  explicit ChangedOnly(const LabelSpecs& labels);

  /// The labels of what it gives: "unchanged", in white, in front of a semantic label's classes.
  const LabelSpecs& labels() const { return labels_; }
  /// Results with semantic maps in this coding; the others as they are. Throws UserError when the
  /// change is not among them.
  Outputs operator()(const Outputs& outputs) const;

 private:
  LabelSpecs labels_;
  std::string change_;
};

}  // namespace strata::inference
