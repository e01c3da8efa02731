// What can be written in a config, for people and for editors, made from the same fields that bind.
#pragma once

#include <string>

#include "framework/config/schema.hpp"

namespace strata::config {

/// "integer, at least 1", "array of 2 numbers", "a head".
STRATA_API std::string type_text(const TypeInfo& type, const Constraints& constraints);

/// The keys of a schema, one a line: key, default, type, what it means. Keys of nested tables
/// follow theirs.
STRATA_API std::string describe(const Schema& schema);

/// Name, kind, origin, one line about it, then its keys.
STRATA_API std::string describe(const ComponentType& component);

/// The schema below a dotted path of config keys ("data.train"), nullptr when there is none.
STRATA_API const Schema* find_schema(const Schema& root, const std::string& path);

/// A page about every component of a kind, and one about the config's own keys, in Markdown.
STRATA_API std::string markdown_of_kind(const ComponentCatalog& catalog, const std::string& kind);
STRATA_API std::string markdown_of_config(const Schema& root);

/// JSON Schema, draft 4 (what Taplo reads), of configs with `root`'s keys and the catalog's
/// components. Keys are never required in it: a config may inherit them from its bases. What it
/// accepts can still be wrong; `validate` has the last word.
STRATA_API std::string json_schema(const Schema& root, const ComponentCatalog& catalog);

}  // namespace strata::config
