// report.html: a run at a glance, for people.
#pragma once

#include <string>

#include "framework/base/export.hpp"

namespace strata::engine {

/// Writes work_dir/report.html from what lies there: scalars.jsonl, timing.jsonl, metrics.json (of
/// tools/test), predictions/ (of tools/predict), config.toml. One file without scripts; pictures are
/// linked by relative paths. Does nothing in a folder without scalars.jsonl, which is no run's.
/// Throws UserError when it cannot be written.
STRATA_API void write_report(const std::string& work_dir);

}  // namespace strata::engine
