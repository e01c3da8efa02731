#include "framework/data/tags.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/base/log.hpp"

namespace strata {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPicture = "image_path";

/// [{"image_path": "a/0001.png", "forest": "0.8127", "lake": 0.1}, ...], read event by event: such
/// files are large, and whole trees of them are larger.
class TagParser final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<PictureTags> pictures;
  std::string problem;

  bool start_array(std::size_t) override { return depth_++ == 0 || wrong(); }
  bool end_array() override { return true; }
  bool start_object(std::size_t) override {
    if (depth_++ != 1) return wrong();
    pictures.emplace_back();
    return true;
  }
  bool end_object() override {
    --depth_;
    PictureTags& last = pictures.back();
    if (last.picture.empty()) return wrong(std::string("has no \"") + kPicture + "\"");
    std::stable_sort(last.classes.begin(), last.classes.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return true;
  }
  bool key(std::string& name) override {
    key_ = std::move(name);
    return true;
  }
  bool string(std::string& text) override {
    if (depth_ != 2) return wrong();
    if (key_ == kPicture) {
      pictures.back().picture = std::move(text);
      return true;
    }
    double value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || rest != end) return no_number();
    return number(value);
  }
  bool number_integer(std::int64_t value) override { return number(static_cast<double>(value)); }
  bool number_unsigned(std::uint64_t value) override { return number(static_cast<double>(value)); }
  bool number_float(double value, const std::string&) override { return number(value); }
  bool null() override { return depth_ == 2 ? no_number() : wrong(); }
  bool boolean(bool) override { return depth_ == 2 ? no_number() : wrong(); }
  bool binary(nlohmann::json::binary_t&) override { return wrong(); }
  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem = "not valid JSON at byte " + std::to_string(byte);
    return false;
  }

 private:
  bool number(double value) {
    if (depth_ != 2) return wrong();
    if (key_ == kPicture) return wrong(std::string("\"") + kPicture + "\" is not a path");
    if (!std::isfinite(value)) return no_number();
    pictures.back().classes.emplace_back(key_, value);
    return true;
  }
  bool no_number() { return wrong("\"" + key_ + "\" has no probability"); }
  bool wrong(const std::string& what) {
    problem = "entry " + std::to_string(pictures.size() - 1) + ": " + what;
    return false;
  }
  bool wrong() {
    problem = "expected a list of {\"image_path\": path, class: probability, …}";
    return false;
  }

  int depth_ = 0;
  std::string key_;
};

// How many names two paths have in common at their ends.
std::size_t common_end(const fs::path& a, const fs::path& b) {
  auto i = a.end(), j = b.end();
  std::size_t count = 0;
  while (i != a.begin() && j != b.begin() && *--i == *--j) ++count;
  return count;
}

}  // namespace

std::vector<PictureTags> read_tags(const std::string& path) {
  const std::string text = read_text(path);
  TagParser parser;
  if (!nlohmann::json::sax_parse(text, &parser)) throw DataError(path + ": " + parser.problem);
  return std::move(parser.pictures);
}

void write_tags(const std::string& path, const std::vector<PictureTags>& pictures) {
  std::string text = "[";
  for (const PictureTags& each : pictures) {
    auto classes = each.classes;
    std::stable_sort(classes.begin(), classes.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    const auto quoted = [](const std::string& words) {
      return nlohmann::json(words).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    };
    text += text.size() > 1 ? ",\n {" : "\n {";
    text += fmt::format("\"{}\": {}", kPicture, quoted(each.picture));
    for (const auto& [name, probability] : classes) {
      text += fmt::format(", {}: \"{:.4f}\"", quoted(name), probability);
    }
    text += "}";
  }
  write_text(path, text + "\n]\n");
}

std::string tags_file(const std::string& folder, const std::string& suffix) {
  std::string path = fs::path(folder).lexically_normal().string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  // A name is needed to put the suffix behind.
  const std::string name = fs::path(path).filename().string();
  if (name.empty() || name == "." || name == "..") {
    path = fs::absolute(path).lexically_normal().string();
    while (path.size() > 1 && path.back() == '/') path.pop_back();
  }
  return path + suffix;
}

struct SceneTags::Folder {
  std::string file;
  std::multimap<std::string, std::pair<fs::path, std::vector<std::string>>> pictures;  // by name

  // Null: not named. A file may have been written where the folder lay elsewhere, so names count
  // first and folders only between equal names.
  const std::vector<std::string>* find(const fs::path& picture) const {
    const auto [begin, end] = pictures.equal_range(picture.filename().string());
    const std::vector<std::string>* best = nullptr;
    std::size_t most = 0;
    bool several = false;
    for (auto at = begin; at != end; ++at) {
      const std::size_t common = common_end(picture, at->second.first);
      if (common > most) {
        most = common;
        best = &at->second.second;
        several = false;
      } else if (common == most) {
        several = true;
      }
    }
    if (several) {
      throw DataError(file + ": names several pictures \"" + picture.filename().string() +
                      "\"; which of them is " + picture.string() + " is not clear");
    }
    return best;
  }
};

SceneTags::SceneTags(TagOptions options) : options_(std::move(options)) {}
SceneTags::~SceneTags() = default;

std::shared_ptr<const SceneTags::Folder> SceneTags::folder_of(const std::string& file) const {
  const std::lock_guard lock(mutex_);
  if (const auto known = folders_.find(file); known != folders_.end()) return known->second;
  std::error_code error;
  if (!fs::exists(file, error)) {
    log::warning("{}: no such file, so the pictures beside it have no scene tags; write it with "
                 "tools/clip_tags",
                 file);
    return folders_[file] = nullptr;
  }
  auto folder = std::make_shared<Folder>();
  folder->file = file;
  std::map<std::string, PictureTags> last;  // what is said of a picture later counts
  for (PictureTags& each : read_tags(file)) last[each.picture] = std::move(each);
  for (auto& [path, each] : last) {
    const auto top = std::min(each.classes.size(), static_cast<std::size_t>(options_.top));
    std::vector<std::string> tags;
    for (std::size_t i = 0; i < top; ++i) tags.push_back(each.classes[i].first);
    fs::path picture = fs::path(path).lexically_normal();
    std::string name = picture.filename().string();
    folder->pictures.emplace(std::move(name), std::pair{std::move(picture), std::move(tags)});
  }
  return folders_[file] = std::move(folder);
}

std::vector<std::vector<std::string>> SceneTags::of(
    const std::vector<std::string>& pictures) const {
  std::vector<std::vector<std::string>> tags;
  bool known = false;
  for (const std::string& each : pictures) {
    const fs::path picture = fs::path(each).lexically_normal();
    const auto folder =
        folder_of(tags_file(picture.has_parent_path() ? picture.parent_path().string() : ".",
                            options_.suffix));
    tags.emplace_back();
    if (folder == nullptr) continue;
    known = true;
    if (const auto* found = folder->find(picture)) {
      tags.back() = *found;
    } else if (options_.missing == "error") {
      throw DataError(folder->file + ": does not name " + picture.string() +
                      "; write it again with tools/clip_tags, or set data.tags.missing = "
                      "\"empty\"");
    }
  }
  if (!known) tags.clear();
  return tags;
}

}  // namespace strata
