// scalars.jsonl as a table for spreadsheets.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/base/files.hpp"
#include "framework/engine/csv.hpp"
#include "framework/engine/hook.hpp"
#include "registry/component.hpp"

namespace strata::engine {

struct CsvOptions {
  static auto fields() { return std::tuple{}; }
};

/// Writes work_dir/scalars.csv whole after each validation and at the end: columns may come later,
/// and a resumed run's table is then the same as that of one that was never stopped.
class CsvHook final : public Hook {
 public:
  CsvHook(const CsvOptions&, const Context&) {}
  int priority() const override { return 90; }
  void after_validation(RunState& state) override { write(state.work_dir); }
  void after_run(RunState& state) override { write(state.work_dir); }

 private:
  static void write(const std::string& work_dir) {
    const std::filesystem::path folder(work_dir);
    std::vector<std::string> columns{"step"};
    std::vector<std::pair<std::int64_t, std::map<std::string, std::string>>> rows;
    std::istringstream lines(read_text(folder / "scalars.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::ordered_json::parse(line);
      const auto step = json.at("step").get<std::int64_t>();
      // What was logged and what was validated after the same step is one row.
      if (rows.empty() || rows.back().first != step) rows.push_back({step, {}});
      for (const auto& [name, value] : json.items()) {
        if (std::find(columns.begin(), columns.end(), name) == columns.end()) {
          columns.push_back(name);
        }
        rows.back().second[name] = value.is_null() ? "" : value.dump();
      }
    }
    std::string text;
    for (const std::string& column : columns) text += (text.empty() ? "" : ",") + csv_field(column);
    text += "\n";
    for (const auto& [step, values] : rows) {
      std::string row;
      for (const std::string& column : columns) {
        const auto value = values.find(column);
        row += (column == "step" ? "" : ",") + (value == values.end() ? "" : value->second);
      }
      text += row + "\n";
    }
    write_text(folder / "scalars.csv", text);
  }
};

}  // namespace strata::engine

STRATA_COMPONENTS(framework_engine_hooks_csv) {
  using namespace strata::engine;
  registry.add<strata::Hook, CsvHook, CsvOptions>("CSVHook",
                                                  "writes the scalars as a table, scalars.csv");
}
