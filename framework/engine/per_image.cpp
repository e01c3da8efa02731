#include "framework/engine/per_image.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/engine/csv.hpp"

namespace strata::engine {
void PerImageCsv::add(const Visit& visit) {
  for (std::int64_t n = 0; n < visit.batch.size(); ++n) {
    const SampleMeta& meta = visit.batch.meta.at(n);
    rows_.push_back({visit.set, meta.name, meta.paths, visit.scores(n)});
  }
}

std::string PerImageCsv::text() const {
  bool sets = false;
  std::size_t dates = 0;
  for (const Row& row : rows_) {
    sets = sets || !row.set.empty();
    dates = std::max(dates, row.paths.size());
  }
  std::vector<std::string> fields;
  std::string text;
  const auto end_line = [&] {
    text += fmt::format("{}\r\n", fmt::join(fields, ","));
    fields.clear();
  };
  if (sets) fields.emplace_back("set");
  fields.emplace_back("name");
  for (std::size_t date = 0; date < dates; ++date) {
    fields.push_back(dates == 1 ? "image" : fmt::format("image_{}", date));
  }
  // Every row has the same names: a metric's names do not depend on what it saw.
  if (!rows_.empty()) {
    for (const auto& [name, value] : rows_.front().scores) fields.push_back(csv_field(name));
  }
  end_line();
  for (const Row& row : rows_) {
    if (sets) fields.push_back(csv_field(row.set));
    fields.push_back(csv_field(row.name));
    for (std::size_t date = 0; date < dates; ++date) {
      fields.push_back(date < row.paths.size() ? csv_field(row.paths[date]) : "");
    }
    for (const auto& [name, value] : row.scores) {
      fields.push_back(std::isnan(value) ? "" : fmt::format("{}", value));
    }
    end_line();
  }
  return text;
}

}  // namespace strata::engine
