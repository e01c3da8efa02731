// Pretrained weights by name: files of a hub or of the web, kept in the user's cache folder.
#pragma once

#include <optional>
#include <string>

#include "framework/base/export.hpp"

namespace strata::io {

/// Whether `source` is such a name, and not a path: "timm:MODEL", "hf:ORG/MODEL", each with
/// "@REVISION" and ":FILE" behind it where wanted, "https://…", "http://…".
STRATA_API bool is_pretrained_name(const std::string& source);

/// What is wrong with a name, or with a path that looks like one ("tim:resnet50"); and the cure.
struct NameProblem {
  std::string what, cure;
};
STRATA_API std::optional<NameProblem> check_pretrained_name(const std::string& source);

/// STRATA_CACHE, else strata in XDG_CACHE_HOME, else ~/.cache/strata.
STRATA_API std::string strata_cache();
/// The folder `weights` of it.
STRATA_API std::string weights_cache();

/// Where the weights of a name are on this machine, or the address that they would be fetched from.
struct PretrainedFile {
  std::string path;  // "": not here
  std::string url;
};
STRATA_API PretrainedFile find_pretrained(const std::string& name);

/// The file of a name (of weights in several files their index), fetched when it is not here. Files
/// that Hugging Face's own tools keep (HF_HUB_CACHE, HF_HOME) are used where they are. HF_ENDPOINT
/// is the hub's address, HF_TOKEN opens what is not public, HF_HUB_OFFLINE=1 forbids to fetch. A
/// sum that is wanted, the one that the hub tells, or the one in a name such as
/// resnet50-0676ba61.pth is checked of what is fetched. Throws CheckpointError "name: what is
/// wrong".
STRATA_API std::string fetch_pretrained(const std::string& name, const std::string& sha256 = "");

}  // namespace strata::io
