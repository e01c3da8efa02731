// The steps of config::load(), apart so that each can be read and tested alone.
#pragma once

#include <string>
#include <vector>

#include "framework/config/config.hpp"

namespace strata::config::detail {

/// Reads a file and its bases into one tree.
class Inheritance {
 public:
  explicit Inheritance(Document& document) : document_(document) {}

  /// The tree of `path` with its bases merged in; `asked_from` is what named it, if anything.
  Value read(const std::string& path, const Origin& asked_from, History& history);
  /// The same for a text that was read already.
  Value compose(Value own, const std::string& path, const std::string& folder, History& history);

 private:
  std::vector<std::string> bases_of(Value& own, const std::string& folder,
                                    std::vector<Origin>& origins);

  Document& document_;
  std::vector<std::string> chain_;  // the files that led here, to tell a circle
};

/// Merges `over` into `base`, `over` wins: tables merge, everything else is replaced, `_delete_`
/// clears, a changed `type` drops the old type's keys. Removals go to `history`.
void merge(Value& base, Value over, const std::string& path, History& history,
           std::vector<Problem>& problems);

/// Records every leaf of `value` as set.
void record(const Value& value, const std::string& path, History& history);
/// Records every leaf of `value` as removed by what is written at `where`.
void record_removal(const Value& value, const std::string& path, const Origin& where,
                    History& history);

/// Applies one `--set a.b.0.c=VALUE`.
void apply_override(const std::string& text, Document& document, Value& root);

/// The tree with every `${…}` replaced; problems go to the document, unused [vars] to its warnings.
Value resolve_references(const Value& root, Document& document);

}  // namespace strata::config::detail
