// browse: what training sees, as one picture; --check: what there is in the files, and what is
// wrong with them.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "framework/base/log.hpp"
#include "framework/data/contact_sheet.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/pictures.hpp"
#include "framework/io/image.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

struct BrowseArguments {
  ConfigArguments config;
  std::string split = "train", out = "browse.png";
  std::int64_t count = 12, first = 0, cell = 192;
  bool original = false, check = false;
};

/// The splits by their names in the config: "train", "val", "val.NAME", …
std::vector<std::pair<std::string, const SplitOptions*>> splits_of(const Experiment& experiment) {
  std::vector<std::pair<std::string, const SplitOptions*>> all;
  if (experiment.data.train) all.emplace_back("train", &*experiment.data.train);
  auto add = [&](const std::string& name, const SplitSets& splits) {
    for (const auto& [set, split] : splits.sets) {
      all.emplace_back(set.empty() ? name : name + "." + set, &split);
    }
  };
  add("val", experiment.data.val);
  add("test", experiment.data.test);
  return all;
}

const SplitOptions& split_named(const Experiment& experiment, const std::string& name) {
  std::string names;
  for (const auto& [each, split] : splits_of(experiment)) {
    if (each == name) return *split;
    names += (names.empty() ? "" : ", ") + each;
  }
  throw UserError("--split: no such split, got \"" + name + "\"; there are " + names);
}

// Pictures of all dates, then each label over the date that it describes.
data::SheetRow row_of(const Batch& batch, const std::string& title) {
  data::SheetRow row{title, {}};
  std::vector<at::Tensor> dates;
  for (const at::Tensor& images : batch.images) {
    dates.push_back(inference::displayable(images.select(0, 0).permute({1, 2, 0}).contiguous()));
  }
  row.pictures = dates;
  for (const auto& [name, target] : batch.targets) {
    const bool change = target.spec.role == "change";
    const auto date = change
                          ? dates.size() - 1
                          : std::min(static_cast<std::size_t>(target.spec.date), dates.size() - 1);
    row.pictures.push_back(inference::overlay(dates[date], target.data.select(0, 0), target.spec,
                                              /*opacity=*/0.6, /*clear_first=*/change));
  }
  return row;
}

void draw_sheet(const Experiment& experiment, const BrowseArguments& arguments) {
  SplitOptions split = split_named(experiment, arguments.split);
  split.batch_size = 1;
  if (arguments.original) split.transforms.clear();
  const auto loader = engine::make_loader(experiment, split, arguments.split == "train");
  loader->seek(arguments.first);
  std::vector<data::SheetRow> rows;
  std::vector<data::SheetColour> legend;
  for (std::int64_t i = 0; i < arguments.count; ++i) {
    const auto batch = loader->next();
    if (!batch) break;
    const SampleMeta& meta = batch->meta.front();
    const std::string size =
        std::to_string(batch->height()) + " x " + std::to_string(batch->width());
    rows.push_back(row_of(*batch, meta.name + "  " + size));
    if (!legend.empty()) continue;
    for (const auto& [name, target] : batch->targets) {
      for (std::size_t c = 0; c < target.spec.classes.size(); ++c) {
        const std::string of = batch->targets.size() > 1 ? name + ": " : "";
        legend.push_back({of + target.spec.classes[c], target.spec.palette[c]});
      }
    }
  }
  if (rows.empty()) throw UserError("--first: the split has fewer samples");
  io::write_png(arguments.out, data::contact_sheet(rows, legend, arguments.cell));
  std::printf("%s: %zu samples of %s, from draw %lld on\n", arguments.out.c_str(), rows.size(),
              arguments.split.c_str(), static_cast<long long>(arguments.first));
}

/// What is counted of one label.
struct LabelCounts {
  const LabelSpec* spec = nullptr;
  std::array<std::int64_t, 256> pixels{}, samples{};
};

void count_label(const SampleTarget& target, LabelCounts& counts) {
  counts.spec = target.spec;
  std::array<std::int64_t, 256> here{};
  const auto* values = target.map.const_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < target.map.numel(); ++i) ++here[values[i]];
  for (std::size_t v = 0; v < 256; ++v) {
    counts.pixels[v] += here[v];
    counts.samples[v] += here[v] > 0;
  }
}

void print_label(const std::string& name, const LabelCounts& counts, std::int64_t samples) {
  std::int64_t total = 0;
  for (const std::int64_t pixels : counts.pixels) total += pixels;
  std::printf("  label %s:\n    %-24s %14s %9s  in samples\n", name.c_str(), "class", "pixels",
              "share");
  auto line = [&](const std::string& title, std::size_t value) {
    std::printf("    %-24s %14lld %7.3f %%  %lld of %lld\n", title.c_str(),
                static_cast<long long>(counts.pixels[value]),
                100.0 * static_cast<double>(counts.pixels[value]) /
                    static_cast<double>(std::max<std::int64_t>(1, total)),
                static_cast<long long>(counts.samples[value]), static_cast<long long>(samples));
  };
  for (std::size_t c = 0; c < counts.spec->classes.size(); ++c) line(counts.spec->classes[c], c);
  line("(ignored)", static_cast<std::size_t>(counts.spec->ignore_index));
}

bool check_split(const std::string& name, const Dataset& dataset) {
  std::map<std::string, std::int64_t> kinds;
  std::map<std::string, LabelCounts> labels;
  std::vector<std::string> wrong;
  std::int64_t read = 0;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    log::status(name + ": " + std::to_string(i) + " of " + std::to_string(dataset.size()));
    try {
      const Sample sample = dataset.read(i);
      const at::Tensor& first = sample.images.front();
      ++kinds[std::to_string(first.size(0)) + " x " + std::to_string(first.size(1)) + ", " +
              std::to_string(first.size(2)) + " channels of " +
              (first.scalar_type() == at::kByte ? "8 bits" : "more than 8 bits")];
      for (const auto& [target, map] : sample.targets) count_label(map, labels[target]);
      ++read;
    } catch (const DataError& error) {
      wrong.emplace_back(error.what());
    }
  }
  log::status("");
  std::printf("%s: %lld samples\n", name.c_str(), static_cast<long long>(dataset.size()));
  for (const auto& [kind, count] : kinds) {
    std::printf("  %s: %lld samples\n", kind.c_str(), static_cast<long long>(count));
  }
  for (const auto& [label, counts] : labels) print_label(label, counts, read);
  for (const std::string& what : wrong) std::fprintf(stderr, "%s\n", what.c_str());
  if (!wrong.empty()) {
    std::fprintf(stderr, "%s: %zu of %lld samples are wrong\n", name.c_str(), wrong.size(),
                 static_cast<long long>(dataset.size()));
  }
  return wrong.empty();
}

// Every split is looked at, whatever is wrong with those before it.
bool check_files(const Experiment& experiment) {
  bool fine = true;
  for (const auto& [name, split] : splits_of(experiment)) {
    try {
      const auto dataset = split->dataset.build(engine::dataset_context(experiment));
      fine = check_split(name, *dataset) && fine;
    } catch (const UserError& error) {
      std::fprintf(stderr, "%s\n", error.what());
      fine = false;
    }
  }
  return fine;
}

}  // namespace

int run_browse(int argc, char** argv) {
  CLI::App app("Draws augmented samples on a sheet, or checks the files of every split.", "browse");
  BrowseArguments arguments;
  add_config(app, arguments.config);
  app.add_option("--split", arguments.split, "train, val, test, or val.NAME, test.NAME")
      ->capture_default_str();
  app.add_option("--out", arguments.out, "PNG file to write")->capture_default_str();
  app.add_option("--count", arguments.count, "samples on the sheet")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--first", arguments.first, "number of the first draw, as training counts them")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--cell", arguments.cell, "pixels of a picture's longer side on the sheet")
      ->check(CLI::Range(16, 2048))
      ->capture_default_str();
  app.add_flag("--original", arguments.original, "without the transforms");
  app.add_flag("--check", arguments.check,
               "no sheet: read every file; sizes, classes, unpaired files, wrong values");
  return run_tool(app, argc, argv, [&] {
    const Loaded loaded = load(arguments.config);
    if (arguments.check) return check_files(loaded.experiment) ? kOk : kUserError;
    draw_sheet(loaded.experiment, arguments);
    return kOk;
  });
}

}  // namespace strata::tools
