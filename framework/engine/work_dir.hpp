// The folder of a run: what an earlier run left is kept, nothing of the user's is touched.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "framework/base/export.hpp"

namespace strata::engine {

/// Makes `work_dir`, and when an earlier run left anything there, moves that to the next free
/// previous_N/. Throws UserError when the folder cannot be made or written.
STRATA_API void prepare_work_dir(const std::string& work_dir);

/// For a run that goes on from `step` in the same folder: checkpoints of later steps (of a branch
/// that is given up) move to the next free previous_N/.
STRATA_API void keep_up_to(const std::string& work_dir, std::int64_t step);

/// A file of JSON lines, each with a "step". Lines are on disk as soon as they are added.
class STRATA_API JsonLines {
 public:
  /// Opens `path`, keeping the whole lines whose step is at most `up_to`; -1 starts an empty file.
  /// `history`, if it is another path, is where those lines come from. Throws UserError.
  JsonLines(std::string path, std::int64_t up_to, const std::string& history = "");
  void add(std::string_view line);

 private:
  std::string path_;
  std::ofstream file_;
};

}  // namespace strata::engine
