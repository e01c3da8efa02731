#include "framework/data/listing.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "framework/base/error.hpp"
#include "framework/base/log.hpp"
#include "framework/io/image.hpp"

namespace strata::data {

namespace fs = std::filesystem;

std::string join_path(const std::string& folder, const std::string& path) {
  return folder.empty() ? path : (fs::path(folder) / path).lexically_normal().string();
}

namespace {

constexpr std::size_t kNamed = 3;  // names that a message gives

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kNamed); ++i) {
    text += (i == 0 ? "\"" : ", \"") + names[i] + "\"";
  }
  return names.size() > kNamed ? text + ", …" : text;
}

// Files of a folder and its sub-folders, relative to it; hidden ones are left out.
std::vector<std::string> files_below(const FileColumn& column) {
  std::error_code error;
  const fs::path folder(column.folder);
  if (!fs::is_directory(folder, error)) {
    throw DataError(column.folder + ": no such folder; check " + column.folder_key);
  }
  std::vector<std::string> files;
  fs::recursive_directory_iterator walk(folder, fs::directory_options::follow_directory_symlink,
                                        error);
  for (const fs::recursive_directory_iterator end; !error && walk != end; walk.increment(error)) {
    const bool hidden = walk->path().filename().native().starts_with('.');
    if (walk->is_directory(error)) {
      if (hidden) walk.disable_recursion_pending();
    } else if (!hidden) {
      files.push_back(walk->path().lexically_relative(folder).generic_string());
    }
  }
  if (error) {
    throw DataError(column.folder + ": cannot be listed (" + error.message() +
                    "); check its permissions");
  }
  std::sort(files.begin(), files.end());
  return files;
}

const std::vector<std::string>& endings_of(const FileColumn& column) {
  return column.endings.empty() ? io::image_suffixes() : column.endings;
}

/// `suffix` "": any ending of a file that the column's reader takes.
std::optional<std::string> stem_of(const std::string& file, const FileColumn& column,
                                   const std::string& suffix) {
  if (suffix.empty()) {
    if (!io::ends_with_one_of(file, endings_of(column))) return std::nullopt;
    return file.substr(0, file.rfind('.'));
  }
  if (!file.ends_with(suffix) || file.size() == suffix.size()) return std::nullopt;
  return file.substr(0, file.size() - suffix.size());
}

[[noreturn]] void nothing_found(const FileColumn& column, const std::vector<std::string>& files) {
  const std::string wanted = column.suffix.empty()
                                 ? "no picture (" +
                                       [&] {
                                         std::string all;
                                         for (const auto& s : endings_of(column)) {
                                           all += (all.empty() ? "" : " ") + s;
                                         }
                                         return all;
                                       }() +
                                       ")"
                                 : "no file ends with \"" + column.suffix + "\"";
  if (files.empty())
    throw DataError(column.folder + ": folder is empty; check " + column.folder_key);
  std::map<std::string, std::size_t> counts;
  for (const std::string& file : files) ++counts[fs::path(file).extension().string()];
  std::vector<std::pair<std::size_t, std::string>> order;
  for (const auto& [extension, count] : counts) order.emplace_back(count, extension);
  std::sort(order.rbegin(), order.rend());
  std::string found;
  for (std::size_t i = 0; i < std::min(order.size(), kNamed); ++i) {
    found += (i == 0 ? "" : ", ") + std::to_string(order[i].first) + " " +
             (order[i].second.empty() ? "without an ending" : order[i].second);
  }
  throw DataError(column.folder + ": " + wanted + ", found " + found + "; check " +
                  (column.suffix.empty() ? column.folder_key : column.suffix_key));
}

using Stems = std::map<std::string, std::string>;  // stem -> file

struct Found {
  Stems stems;
  std::vector<std::string> files;
};

Found find(const FileColumn& column) {
  Found found;
  found.files = files_below(column);
  for (const std::string& file : found.files) {
    const auto stem = stem_of(file, column, column.suffix);
    if (!stem) continue;
    const auto [other, added] = found.stems.emplace(*stem, file);
    if (!added) {
      throw DataError(join_path(column.folder, file) + ": same name as \"" + other->second +
                      "\", so its partner is not clear; set " + column.suffix_key);
    }
  }
  if (found.stems.empty()) nothing_found(column, found.files);
  return found;
}

// Suffixes that would pair most files: what is left of an unpaired file and of the file with the
// longest common beginning, if it fits at least half of all, and more than are paired now.
std::string advice(const FileColumn& a, const Found& in_a, const FileColumn& b, const Found& in_b,
                   const std::string& unpaired_stem) {
  const std::string& file = in_a.stems.at(unpaired_stem);
  std::string best;
  std::size_t common = 0;
  for (const std::string& other : in_b.files) {
    const auto [end, other_end] =
        std::mismatch(file.begin(), file.end(), other.begin(), other.end());
    const auto length = static_cast<std::size_t>(end - file.begin());
    if (length > common) {
      common = length;
      best = other;
    }
  }
  // "r1_sat.png" and "r1_mask.png" differ by suffixes that begin with "_".
  if (common > 0 && (file[common - 1] == '_' || file[common - 1] == '-')) --common;
  if (common == 0) return "";
  const std::string suffix_a = file.substr(common), suffix_b = best.substr(common);
  if (suffix_a.empty() || suffix_b.empty()) return "";
  const std::set<std::string> all_b(in_b.files.begin(), in_b.files.end());
  std::size_t candidates = 0, pairs = 0;
  for (const std::string& name : in_a.files) {
    const auto stem = stem_of(name, a, suffix_a);
    if (!stem) continue;
    ++candidates;
    pairs += all_b.count(*stem + suffix_b);
  }
  const auto paired = static_cast<std::size_t>(
      std::count_if(in_a.stems.begin(), in_a.stems.end(),
                    [&](const auto& entry) { return in_b.stems.count(entry.first) != 0; }));
  if (pairs <= paired || 2 * pairs < candidates) return "";
  std::string text;
  // "" already means every ending, so only a suffix that is more than an ending is worth setting.
  auto add = [&](const FileColumn& column, const std::string& suffix) {
    if (suffix == column.suffix || (column.suffix.empty() && suffix.starts_with('.'))) return;
    text += (text.empty() ? "; set " : " and ") + column.suffix_key + " = \"" + suffix + "\"";
  };
  add(a, suffix_a);
  add(b, suffix_b);
  return text.empty() ? text : text + " to pair " + std::to_string(pairs) + " of them";
}

void check_pairs(const FileColumn& a, const Found& in_a, const FileColumn& b, const Found& in_b) {
  std::vector<std::string> lonely_a, lonely_b;
  for (const auto& [stem, file] : in_a.stems) {
    if (in_b.stems.count(stem) == 0) lonely_a.push_back(file);
  }
  for (const auto& [stem, file] : in_b.stems) {
    if (in_a.stems.count(stem) == 0) lonely_b.push_back(file);
  }
  if (lonely_a.empty() && lonely_b.empty()) return;
  std::string text = b.folder + ": ";
  if (!lonely_a.empty()) {
    text += "no " + b.what + " for " + std::to_string(lonely_a.size()) + " of " +
            std::to_string(in_a.stems.size()) + " files in " + a.folder + ": " + quoted(lonely_a);
  }
  if (!lonely_b.empty()) {
    text += (lonely_a.empty() ? "" : "; ") + std::string("no ") + a.what + " for " +
            std::to_string(lonely_b.size()) + " of " + std::to_string(in_b.stems.size()) +
            " files here: " + quoted(lonely_b);
  }
  const std::string stem = lonely_a.empty() ? "" : *stem_of(lonely_a.front(), a, a.suffix);
  const std::string cure = stem.empty() ? "" : advice(a, in_a, b, in_b, stem);
  throw DataError(text +
                  (cure.empty() ? "; add the missing files or set skip_unpaired = true" : cure));
}

std::vector<ListedSample> list_folders(const std::vector<FileColumn>& columns, bool skip_unpaired) {
  std::vector<Found> found;
  for (const FileColumn& column : columns) found.push_back(find(column));
  for (std::size_t i = 1; i < columns.size() && !skip_unpaired; ++i) {
    check_pairs(columns[0], found[0], columns[i], found[i]);
  }
  std::vector<ListedSample> samples;
  for (const auto& [stem, file] : found[0].stems) {
    ListedSample sample{stem, {}};
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto other = found[i].stems.find(stem);
      if (other == found[i].stems.end()) break;
      sample.files.push_back(join_path(columns[i].folder, other->second));
    }
    if (sample.files.size() == columns.size()) samples.push_back(std::move(sample));
  }
  if (samples.empty()) {
    check_pairs(columns[0], found[0], columns[1], found[1]);  // throws: nothing pairs at all
  }
  const std::size_t left_out = found[0].stems.size() - samples.size();
  if (left_out > 0) {
    log::warning("{}: {} of {} files are left out, for want of a partner (skip_unpaired)",
                 columns[0].folder, left_out, found[0].stems.size());
  }
  return samples;
}

// The file of `column` for a name of the list; throws when there is none.
std::string resolve(const FileColumn& column, const std::string& name, const std::string& where) {
  const std::string base = join_path(column.folder, name);
  std::error_code error;
  if (!column.suffix.empty()) {
    if (fs::is_regular_file(base + column.suffix, error)) return base + column.suffix;
    throw DataError(where + ": no " + column.what + " for \"" + name + "\", looked for " + base +
                    column.suffix + "; check " + column.folder_key + " and " + column.suffix_key);
  }
  const std::vector<std::string>& endings = endings_of(column);
  if (io::ends_with_one_of(name, endings) && fs::is_regular_file(base, error)) return base;
  for (const std::string& suffix : endings) {
    if (fs::is_regular_file(base + suffix, error)) return base + suffix;
  }
  throw DataError(where + ": no " + column.what + " for \"" + name + "\" in " + column.folder +
                  "; check " + column.folder_key);
}

// Words of a line, with what separates them: "two_spaces" leaves single ones in names.
std::vector<std::string> split(const std::string& line, const std::string& format) {
  std::vector<std::string> words;
  if (format == "tabs") {
    std::istringstream stream(line);
    for (std::string word; std::getline(stream, word, '\t');) words.push_back(word);
  } else if (format == "blanks") {
    std::istringstream stream(line);
    for (std::string word; stream >> word;) words.push_back(word);
  } else {
    for (std::size_t begin = line.find_first_not_of(' '); begin < line.size();) {
      const std::size_t end = std::min(line.find("  ", begin), line.size());
      words.push_back(line.substr(begin, end - begin));
      begin = line.find_first_not_of(' ', end);
    }
  }
  return words;
}

// "auto": tabs where there is one; two spaces where these give enough paths; else any blank.
std::vector<std::string> split(const std::string& line, const std::string& format,
                               std::size_t columns) {
  if (format != "auto") return split(line, format);
  if (line.find('\t') != std::string::npos) return split(line, "tabs");
  std::vector<std::string> words = split(line, "two_spaces");
  return words.size() > 1 && words.size() >= columns ? words : split(line, "blanks");
}

// What a sample is called whose first path this is: results are written under this name, inside
// a folder of their own.
std::string name_of(const std::string& path, const std::string& root) {
  fs::path name = fs::path(path).lexically_normal();
  if (name.is_absolute()) {
    const fs::path inside = name.lexically_relative(fs::absolute(root.empty() ? "." : root).lexically_normal());
    name = inside.empty() || *inside.begin() == ".." ? name.relative_path() : inside;
  }
  fs::path kept;
  for (const fs::path& part : name) {
    if (part != "..") kept /= part;
  }
  return kept.string();
}

std::vector<ListedSample> list_from_file(const std::vector<FileColumn>& columns,
                                         const Listing& listing) {
  std::error_code code;
  std::ifstream stream;  // opened if it is a file: a device may have no end, a pipe may wait
  if (fs::is_regular_file(listing.list_file, code)) stream.open(listing.list_file);
  if (!stream.is_open()) {
    throw DataError(listing.list_file + ": list file cannot be read; check ann_file");
  }
  const std::string folder = fs::path(listing.list_file).parent_path().string();
  std::vector<ListedSample> samples;
  std::int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    line.erase(line.find_last_not_of(" \t\r\n") + 1);
    if (line.empty() || line.front() == '#') continue;
    const std::string where = listing.list_file + ":" + std::to_string(number);
    const std::vector<std::string> words = split(line, listing.list_format, columns.size());
    ListedSample sample;
    sample.name = name_of(words[0], listing.root.empty() ? folder : listing.root);
    if (words.size() == 1) {
      for (const FileColumn& column : columns) {
        sample.files.push_back(resolve(column, words[0], where));
      }
    } else if (words.size() >= columns.size()) {  // surplus: labels that prediction does not read
      for (std::size_t i = 0; i < columns.size(); ++i) {
        std::string path = join_path(folder, words[i]);
        std::error_code error;
        if (!listing.root.empty() && !fs::is_regular_file(path, error)) {
          path = join_path(listing.root, words[i]);
        }
        if (!fs::is_regular_file(path, error)) {
          throw DataError(where + ": no such file, got " + path +
                          "; paths are taken from the list's folder" +
                          (listing.root.empty() ? "" : ", else from data_root"));
        }
        sample.files.push_back(path);
      }
    } else {
      std::string wanted;
      for (const FileColumn& column : columns) wanted += (wanted.empty() ? "" : " ") + column.what;
      throw DataError(where + ": expected a name or the paths \"" + wanted + "\", got \"" + line +
                      "\"; separate names that hold spaces by tabs or two spaces");
    }
    if (io::ends_with_one_of(sample.name, endings_of(columns.front()))) {
      sample.name.erase(sample.name.rfind('.'));
    }
    samples.push_back(std::move(sample));
  }
  if (samples.empty()) throw DataError(listing.list_file + ": list file names no sample");
  return samples;
}

}  // namespace

std::vector<ListedSample> list_samples(const std::vector<FileColumn>& columns,
                                       const Listing& listing) {
  return listing.list_file.empty() ? list_folders(columns, listing.skip_unpaired)
                                   : list_from_file(columns, listing);
}

}  // namespace strata::data
