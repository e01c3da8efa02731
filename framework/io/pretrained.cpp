#include "framework/io/pretrained.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/download.hpp"
#include "framework/io/sharded.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirstRevision = "main";
constexpr std::size_t kLongestName = 1024, kLongestFile = 200;  // bytes; a file system takes 255

/// A variable of the environment, or `otherwise` when it is not set or empty.
std::string variable(const char* name, const std::string& otherwise = "") {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

std::string home_cache() {
  return variable("XDG_CACHE_HOME", (fs::path(variable("HOME", ".")) / ".cache").string());
}

struct Name {
  std::string repository, revision = kFirstRevision;  // of the hub
  std::string folder;                                 // of the web: "https://host/a/"
  std::string file;                                   // of the web with its query
  bool of_hub() const { return folder.empty(); }
};

bool is_word(std::string_view text, std::string_view more = "") {
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' ||
                       c == '.' || more.find(c) != std::string_view::npos;
    if (!plain) return false;
  }
  return !text.empty() && text.front() != '.' && text.find("..") == std::string_view::npos &&
         text.find("/.") == std::string_view::npos && text.find("//") == std::string_view::npos &&
         text.front() != '/' && text.back() != '/';
}

// "timm:MODEL@REVISION:FILE"; nullopt when it is malformed.
std::optional<Name> parse_hub(const std::string& text) {
  Name name;
  std::string rest = text.substr(text.find(':') + 1);
  if (const std::size_t colon = rest.find(':'); colon != std::string::npos) {
    name.file = rest.substr(colon + 1);
    rest.resize(colon);
    if (!is_word(name.file, "/+ ")) return std::nullopt;
  }
  if (const std::size_t at = rest.find('@'); at != std::string::npos) {
    name.revision = rest.substr(at + 1);
    rest.resize(at);
    if (!is_word(name.revision, "/")) return std::nullopt;
  }
  const std::size_t slash = rest.find('/');
  if (text.starts_with("timm:")) {
    if (!is_word(rest)) return std::nullopt;
    name.repository = "timm/" + rest;
  } else {
    if (slash == std::string::npos || !is_word(rest.substr(0, slash)) ||
        !is_word(rest.substr(slash + 1))) {
      return std::nullopt;
    }
    name.repository = rest;
  }
  return name;
}

bool of_web(const std::string& text) {
  return text.starts_with("https://") || text.starts_with("http://");
}

// "https://host/a/b.pth?x"; nullopt when it is no address of a file.
std::optional<Name> parse_web(const std::string& text) {
  const std::size_t begin = text.find("://") + 3, query = std::min(text.find('?'), text.size());
  const std::size_t slash = text.rfind('/', query);
  if (slash < begin || !is_word(text.substr(begin, query - begin), "/:+%=,~@")) return std::nullopt;
  if (text.find('@', begin) < text.find('/', begin)) return std::nullopt;  // no passwords in configs
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '#') return std::nullopt;
  }
  Name name;
  name.folder = text.substr(0, slash + 1);
  name.file = text.substr(slash + 1);
  return name;
}

std::optional<Name> parse_name(const std::string& text) {
  if (text.size() > kLongestName) return std::nullopt;
  auto name = of_web(text) ? parse_web(text) : parse_hub(text);
  if (name && name->file.size() > kLongestFile) return std::nullopt;
  return name;
}

Name name_or_throw(const std::string& text) {
  if (const auto name = parse_name(text)) return *name;
  const auto problem = check_pretrained_name(text);
  throw CheckpointError(text + ": " + problem->what + problem->cure);
}

std::string in_url(const std::string& text, bool keep_slash) {
  std::string out;
  for (const char c : text) {
    if (is_word(std::string_view(&c, 1)) || c == '.' || (keep_slash && c == '/')) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", c & 0xff);
    }
  }
  return out;
}

std::string endpoint() {
  std::string url = variable("HF_ENDPOINT", "https://huggingface.co");
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::string url_of(const Name& name, const std::string& file) {
  if (!name.of_hub()) return name.folder + file;
  return fmt::format("{}/{}/resolve/{}/{}", endpoint(), name.repository,
                     in_url(name.revision, false), in_url(file, true));
}

/// Our own place for a file.
fs::path place_of(const Name& name, const std::string& file) {
  const fs::path cache = weights_cache();
  if (name.of_hub()) {
    return cache / "hub" / name.repository / in_url(name.revision, false) / file;
  }
  const std::size_t colon = name.folder.find(':');
  return cache / name.folder.substr(0, colon) / in_url(name.folder.substr(colon + 3), true) /
         in_url(file, false);
}

/// The folder where Hugging Face's own tools keep this revision; "" when they do not.
fs::path hub_snapshot(const Name& name) {
  const fs::path home = variable("HF_HOME", (fs::path(home_cache()) / "huggingface").string());
  std::string folder = "models--" + name.repository;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path repository = fs::path(variable("HF_HUB_CACHE", (home / "hub").string())) / folder;
  std::string commit = name.revision;
  const fs::path reference = repository / "refs" / name.revision;
  if (fs::is_regular_file(reference)) commit = read_text(reference.string());
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back())) != 0) {
    commit.pop_back();
  }
  if (!is_word(commit)) return {};
  const fs::path snapshot = repository / "snapshots" / commit;
  return fs::is_directory(snapshot) ? snapshot : fs::path();
}

/// With every file that an index speaks of.
bool is_whole(const fs::path& file) {
  if (!fs::is_regular_file(file)) return false;
  if (!is_index(file.string())) return true;
  for (const std::string& shard : shards_of(file.string())) {
    if (!fs::is_regular_file(file.parent_path() / shard)) return false;
  }
  return true;
}

std::vector<std::string> candidates(const Name& name) {
  if (!name.file.empty()) return {name.file};
  return {kHubFiles.begin(), kHubFiles.end()};
}

std::string find_here(const Name& name) {
  const fs::path snapshot = name.of_hub() ? hub_snapshot(name) : fs::path();
  for (const std::string& file : candidates(name)) {
    if (const fs::path own = place_of(name, file); is_whole(own)) return own.string();
    if (!snapshot.empty() && is_whole(snapshot / file)) return (snapshot / file).string();
  }
  return "";
}

/// The sum that PyTorch's and OpenMMLab's files carry: resnet50-0676ba61.pth. Digits alone may as
/// well be a date.
std::string sum_in(const std::string& file) {
  const std::string stem = fs::path(file).stem().string();
  const std::size_t dash = stem.rfind('-');
  const std::string sum = dash == std::string::npos ? "" : stem.substr(dash + 1);
  return is_sha256(sum) && sum.find_first_of("abcdef") != std::string::npos ? sum : "";
}

Download request(const Name& name, const std::string& text, const std::string& file) {
  Download what{text, url_of(name, file), place_of(name, file).string()};
  if (name.of_hub()) {
    what.token = variable("HF_TOKEN");
    const std::string page = endpoint() + "/" + name.repository;
    what.refused =
        what.token.empty()
            ? fmt::format(
                  "; look whether {} is there; if it is private or gated, accept "
                  "its terms there and set HF_TOKEN to a token of yours",
                  page)
            : fmt::format("; look whether {} is there and open to the owner of HF_TOKEN", page);
  } else if (const std::string sum = sum_in(file); !sum.empty()) {
    what.sha256 = sum;
    what.whose = "the file's name says";
  }
  return what;
}

}  // namespace

bool is_pretrained_name(const std::string& source) {
  return source.starts_with("timm:") || source.starts_with("hf:") || of_web(source);
}

std::optional<NameProblem> check_pretrained_name(const std::string& source) {
  if (is_pretrained_name(source)) {
    if (parse_name(source)) return std::nullopt;
    if (of_web(source)) return NameProblem{"is no address of a file", ""};
    return NameProblem{"is no name of weights", source.starts_with("timm:")
                                                    ? "; expected \"timm:MODEL\""
                                                    : "; expected \"hf:ORG/MODEL\" or "
                                                      "\"hf:ORG/MODEL:FILE\""};
  }
  const std::size_t colon = source.find(':');
  if (colon == std::string::npos || colon < 2) return std::nullopt;
  const std::string scheme = source.substr(0, colon);
  if (!is_word(scheme) || scheme.find('.') != std::string::npos) return std::nullopt;
  std::string cure = did_you_mean(scheme, {"timm", "hf", "https", "http"});
  if (cure.empty()) cure = "; known are timm:, hf:, https: and http:";
  return NameProblem{"is no file, and \"" + scheme + ":\" is no place of weights", cure};
}

std::string strata_cache() {
  return variable("STRATA_CACHE", (fs::path(home_cache()) / "strata").string());
}

std::string weights_cache() { return (fs::path(strata_cache()) / "weights").string(); }

PretrainedFile find_pretrained(const std::string& text) {
  const Name name = name_or_throw(text);
  return {find_here(name), url_of(name, candidates(name).front())};
}

std::string fetch_pretrained(const std::string& text, const std::string& sha256) {
  const Name name = name_or_throw(text);
  if (std::string here = find_here(name); !here.empty()) return here;
  const auto files = candidates(name);
  if (const std::string offline = variable("HF_HUB_OFFLINE", "0"); offline != "0") {
    throw CheckpointError(
        fmt::format("{}: is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; fetch {} "
                    "elsewhere and "
                    "put it at {}, or name a file that is there",
                    text, url_of(name, files.front()), place_of(name, files.front()).string()));
  }
  for (const std::string& file : files) {
    Download what = request(name, text, file);
    if (!sha256.empty() && !is_index(file)) {
      what.sha256 = sha256;
      what.whose = "the config says";
    }
    if (!download(what)) continue;
    if (!is_index(file)) return what.path;
    for (const std::string& shard : shards_of(what.path)) {
      const std::string beside = (fs::path(file).parent_path() / shard).string();
      if (download(request(name, text, beside))) continue;
      throw CheckpointError(fmt::format("{}: the server has no {}, which {} speaks of", text, shard,
                                        url_of(name, file)));
    }
    return what.path;
  }
  if (!name.of_hub()) {
    throw CheckpointError(text + ": the server has no such file (HTTP 404)");
  }
  throw CheckpointError(fmt::format("{}: {}/{} has no {} at revision {}", text, endpoint(),
                                    name.repository, fmt::join(files, ", "), name.revision));
}

}  // namespace strata::io
