// Errors that a user can cause, and where the user caused them. Everything else is a bug.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata {

/// The place where a user wrote something: a file position, or a command-line option such as
/// `--set model.depth` (then `line` is 0), or nothing at all (a default; `source` is empty).
struct STRATA_API Origin {
  std::string source;
  int line = 0;
  int column = 0;

  bool is_file() const { return line > 0; }
  /// "file:line:column", "file:line", the bare source, or "" for a default.
  std::string str() const;
};

/// One thing that is wrong: `where: path: what`.
struct STRATA_API Problem {
  Origin where;
  std::string path;  // dotted path of the config key, "" when none applies
  std::string what;  // lower-case start, no full stop, value quoted as written

  std::string str() const;
};

/// Base of every error that the user can mend. Tools print what() and exit with 2.
class STRATA_API UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~UserError() override;
};

/// All problems of a config, sorted by position; what() has one line for each.
class STRATA_API ConfigError : public UserError {
 public:
  explicit ConfigError(std::vector<Problem> problems);
  ~ConfigError() override;
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

/// A file or folder of data that cannot be used; the message starts with its path.
class STRATA_API DataError : public UserError {
 public:
  using UserError::UserError;
  ~DataError() override;
};

/// A plugin that cannot be loaded; the message starts with its path.
class STRATA_API PluginError : public UserError {
 public:
  using UserError::UserError;
  ~PluginError() override;
};

/// A checkpoint or weight file that cannot be used; the message starts with its path.
class STRATA_API CheckpointError : public UserError {
 public:
  using UserError::UserError;
  ~CheckpointError() override;
};

/// What a component throws when one of its own options does not fit what it is given (channels of
/// the level in front of it, number of classes). Whoever holds the component's config turns it
/// into a located Problem at `key`.
class STRATA_API OptionError : public std::runtime_error {
 public:
  OptionError(std::string key, const std::string& what);
  ~OptionError() override;
  const std::string& key() const { return key_; }

 private:
  std::string key_;  // relative to the component, "" for the component itself
};

/// `; did you mean "x"?` for the candidate nearest to `name` by edit distance, else "".
STRATA_API std::string did_you_mean(const std::string& name,
                                    const std::vector<std::string>& candidates);

}  // namespace strata
