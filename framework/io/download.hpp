// One file from a web server: whole, checked and in its place, or not there.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "framework/base/export.hpp"

namespace strata::io {

struct Download {
  std::string name;      // what messages begin with
  std::string url;       // http or https
  std::string path;      // where it goes; its folder is made
  std::string token{};   // bearer token for the server of `url`, not for those it sends us on to
  std::string sha256{};  // the sum, or how it begins; "": the one that the server tells, if it does
  std::string whose{"the config says"};
  std::string refused{};                  // what to do when the server wants to know who asks
  int attempts = 3;                       // at an answer that breaks off, or a server that is busy
  std::chrono::milliseconds pause{1000};  // before the second, twice that before the third
};

/// Fetches `url` to `path`; false: the server has no such file. The bytes grow beside `path`, where
/// a later run goes on from them if the server's file is the same (its ETag), and become `path`
/// when their number and sum are right. A server tells the sum in X-Linked-Etag (Hugging Face's
/// does). Throws CheckpointError "name: what is wrong".
STRATA_API bool download(const Download& what);

/// The SHA-256 of a file, 64 hexadecimal digits. Throws UserError when it cannot be read.
STRATA_API std::string sha256_of(const std::string& path);
/// Whether `text` is a sum, or the first 8 digits of one or more.
STRATA_API bool is_sha256(const std::string& text);
/// Throws CheckpointError when the sum of `path` does not begin with `wanted`, as `whose` ("the
/// config says").
STRATA_API void check_sha256(const std::string& path, const std::string& wanted,
                             const std::string& whose);

}  // namespace strata::io
