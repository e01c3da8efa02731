// A config as the user composed it: a TOML file, the files it is based on, what the command line
// sets on top, and references between them, resolved last.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "framework/config/schema.hpp"
#include "framework/config/value.hpp"

namespace strata::config {

/// One thing that happened to a key on the way to its value.
struct Change {
  enum class Action { set, removed };
  Action action = Action::set;
  Origin where;  // of the value; of what removed it
  Value value;   // as written, references not resolved
};

/// Dotted path of a leaf (scalar, array) to its changes, oldest first.
using History = std::map<std::string, std::vector<Change>>;

struct Document {
  Value root;     // what there is to bind: resolved, without `_base_` and `vars`
  Value written;  // the same before references were resolved, with `vars`
  Value vars;     // the resolved [vars]
  History history;
  std::vector<Problem> problems;  // that leave the rest readable; see load()
  std::vector<Problem> warnings;
  std::vector<std::string> files;  // every file read, bases first
};

/// Reads `path` and its bases, applies `overrides` ("a.b.0.c=VALUE" each, in order), resolves
/// references. Throws ConfigError when a file cannot be read or parsed. Everything else that is
/// wrong (dead references, overrides that lead nowhere) waits in `problems`, so that it is
/// reported together with what binding finds: see bind_document().
STRATA_API Document load(const std::string& path, const std::vector<std::string>& overrides = {});

/// The same from a text; relative paths in it count from `folder`.
STRATA_API Document load_text(const std::string& text, const std::string& name,
                              const std::vector<std::string>& overrides = {},
                              const std::string& folder = "");

/// Throws ConfigError with all of `problems`, unless there are none.
STRATA_API void throw_if_any(std::vector<Problem> problems);

/// Binds the whole document to an options struct. Throws ConfigError with the document's own
/// problems and those of binding; warnings are added to the document's.
template <class Options>
Options bind_document(Document& document, const ComponentCatalog& catalog) {
  Binder binder(catalog);
  Options options;
  binder.bind(schema_of<Options>(), &options, document.root);
  std::vector<Problem> problems = document.problems;
  problems.insert(problems.end(), binder.problems.begin(), binder.problems.end());
  throw_if_any(std::move(problems));
  document.warnings.insert(document.warnings.end(), binder.warnings.begin(), binder.warnings.end());
  return options;
}

/// Every leaf (scalar or array) of a tree with its dotted path, in order.
STRATA_API std::vector<std::pair<std::string, const Value*>> leaves(const Value& root);

/// Where the value at a dotted path comes from: each file or option that set or removed it, then
/// what references make of it. Keys below a table are all listed. Throws UserError for a path
/// that nothing ever set.
STRATA_API std::string explain(const Document& document, const std::string& path);

/// What differs between two configs, one key a line; "" when nothing does.
STRATA_API std::string diff(const Document& a, const Document& b);

}  // namespace strata::config
