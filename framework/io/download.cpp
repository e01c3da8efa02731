#include "framework/io/download.hpp"

#include <curl/curl.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/base/version.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kSumDigits = 64, kLeastSumDigits = 8;
constexpr long kConnectSeconds = 20, kSilentSeconds = 60, kMostRedirects = 10;
constexpr std::chrono::milliseconds kRedraw{200};

std::string mib(double bytes) { return fmt::format("{:.1f} MiB", bytes / (1 << 20)); }

std::optional<std::uint64_t> count_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// An ETag that stands for the very bytes, without its quotes; "" for a weak one.
std::string strong_tag(const std::string& etag) {
  if (etag.size() < 2 || etag.front() != '"' || etag.back() != '"') return "";
  return etag.substr(1, etag.size() - 2);
}

// --- one exchange with the server ---

struct Answer {
  CURLcode code = CURLE_OK;
  long status = 0;      // of HTTP, after redirects; 0 when there was no answer
  std::string trouble;  // what went wrong below HTTP
  std::map<std::string, std::string> headers;  // of the last answer, names in lower case
  std::string linked_tag, linked_size;         // X-Linked-…, of whichever answer had them

  const std::string& header(const std::string& name) const {
    static const std::string none;
    const auto found = headers.find(name);
    return found == headers.end() ? none : found->second;
  }
  /// The server never got to answer: no network, no such name, nobody there.
  bool unreachable() const {
    return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
           code == CURLE_COULDNT_CONNECT || (code == CURLE_OPERATION_TIMEDOUT && status == 0);
  }
  bool broke_off() const {
    return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
           code == CURLE_GOT_NOTHING || code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM ||
           (code == CURLE_OPERATION_TIMEDOUT && status != 0);
  }
  bool worth_another_try() const {
    if (code != CURLE_OK) return broke_off();
    return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
  }
};

class Exchange {
 public:
  /// Takes the bytes of the body, and throws when it cannot.
  using Sink = std::function<void(const Answer&, const char*, std::size_t)>;

  explicit Exchange(const Download& what) : handle_(::curl_easy_init(), ::curl_easy_cleanup) {
    static const CURLcode ready = ::curl_global_init(CURL_GLOBAL_DEFAULT);
    if (ready != CURLE_OK || handle_ == nullptr) throw std::runtime_error("libcurl does not start");
    set(CURLOPT_URL, what.url.c_str());
    set(CURLOPT_USERAGENT, "strata/" + std::string(version()));
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, kMostRedirects);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    // What began encrypted stays so.
    set(CURLOPT_REDIR_PROTOCOLS_STR, what.url.starts_with("https:") ? "https" : "http,https");
    set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kSilentSeconds);
    set(CURLOPT_ERRORBUFFER, trouble_.data());
    if (!what.token.empty()) {
      set(CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
      set(CURLOPT_XOAUTH2_BEARER, what.token);
    }
    set(CURLOPT_HEADERFUNCTION, &Exchange::take_header);
    set(CURLOPT_HEADERDATA, this);
    set(CURLOPT_WRITEFUNCTION, &Exchange::take_body);
    set(CURLOPT_WRITEDATA, this);
  }

  Answer head() {
    set(CURLOPT_NOBODY, 1L);
    return perform();
  }
  /// From a byte on; all of it when the file is no longer the one with the tag `same`.
  Answer get(std::uint64_t from, const std::string& same, Sink sink) {
    sink_ = std::move(sink);
    if (from > 0) set(CURLOPT_RANGE, fmt::format("{}-", from));
    if (from > 0 && !same.empty()) {
      header_.reset(::curl_slist_append(nullptr, ("If-Range: \"" + same + '"').c_str()));
      set(CURLOPT_HTTPHEADER, header_.get());
    }
    return perform();
  }

 private:
  template <class T>
  void set(CURLoption option, const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      ::curl_easy_setopt(handle_.get(), option, value.c_str());  // copied
    } else {
      ::curl_easy_setopt(handle_.get(), option, value);
    }
  }

  Answer perform() {
    answer_.code = ::curl_easy_perform(handle_.get());
    if (thrown_) std::rethrow_exception(thrown_);
    ::curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &answer_.status);
    if (answer_.code != CURLE_OK) {
      answer_.trouble =
          trouble_.front() != '\0' ? trouble_.data() : ::curl_easy_strerror(answer_.code);
    }
    return answer_;
  }

  // libcurl gives whole lines, those of redirects before those of the last answer.
  static std::size_t take_header(char* text, std::size_t, std::size_t size, void* self) {
    Answer& answer = static_cast<Exchange*>(self)->answer_;
    std::string_view line(text, size);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) {
      line.remove_suffix(1);
    }
    if (line.starts_with("HTTP/")) answer.headers.clear();
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return size;
    std::string name(line.substr(0, colon)), value(line.substr(colon + 1));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    value.erase(0, value.find_first_not_of(" \t"));
    if (name == "x-linked-etag" && answer.linked_tag.empty()) answer.linked_tag = value;
    if (name == "x-linked-size" && answer.linked_size.empty()) answer.linked_size = value;
    answer.headers[name] = value;
    return size;
  }

  // Exceptions must not go through libcurl, which is C.
  static std::size_t take_body(char* bytes, std::size_t, std::size_t size, void* self) {
    auto& own = *static_cast<Exchange*>(self);
    try {
      ::curl_easy_getinfo(own.handle_.get(), CURLINFO_RESPONSE_CODE, &own.answer_.status);
      if (own.sink_) own.sink_(own.answer_, bytes, size);
      return size;
    } catch (...) {
      own.thrown_ = std::current_exception();
      return 0;
    }
  }

  std::unique_ptr<CURL, decltype(&::curl_easy_cleanup)> handle_;
  std::unique_ptr<curl_slist, decltype(&::curl_slist_free_all)> header_{nullptr,
                                                                        ::curl_slist_free_all};
  std::array<char, CURL_ERROR_SIZE> trouble_{};
  Sink sink_;
  Answer answer_;
  std::exception_ptr thrown_;
};

// --- a file in several exchanges ---

class Fetch {
 public:
  explicit Fetch(const Download& what) : what_(what) {}

  bool run() {
    if (fs::exists(what_.path)) return true;
    if (!ask()) return false;
    make_folder(fs::path(what_.path).parent_path());
    PartialFile file(partial_path(),
                     [&] { log::info("{}: another process fetches it; waiting", what_.name); });
    if (fs::exists(what_.path)) {
      file.remove();
      return true;
    }
    if (tag_.empty() || (size_ && file.size() > *size_)) file.clear();
    check_room(file);
    log::info("{}: fetching {}({}){}", what_.name, what_.name == what_.url ? "" : what_.url + " ",
              size_ ? mib(*size_) : "unknown size",
              file.size() > 0 ? ", going on from " + mib(file.size()) : "");
    try {
      if (!transfer(file)) {
        file.remove();
        return false;
      }
      log::status("");
      verify(file);
    } catch (...) {
      log::status("");
      if (file.size() == 0) file.remove();
      throw;
    }
    file.become(what_.path);
    log::info("{}: {} in {:.1f} s, kept as {}", what_.name, mib(file.size()),
              std::chrono::duration<double>(Clock::now() - begin_).count(), what_.path);
    return true;
  }

 private:
  [[noreturn]] void fail(const std::string& text) const {
    throw CheckpointError(what_.name + ": " + text);
  }

  std::string partial_path() const {
    // The tag in the name: what is left of another version of the file is not gone on with.
    std::string tag;
    for (const char c : tag_.substr(0, 16)) {
      if (std::isalnum(static_cast<unsigned char>(c)) != 0) tag += c;
    }
    return what_.path + (tag.empty() ? "" : "." + tag) + ".partial";
  }

  // Size, tag and sum, from a server that answers HEAD; one that does not may still send the file.
  bool ask() {
    Answer answer = Exchange(what_).head();
    for (int n = 1; n < what_.attempts && answer.worth_another_try(); ++n) {
      std::this_thread::sleep_for(what_.pause * n);
      answer = Exchange(what_).head();
    }
    if (answer.code != CURLE_OK) refuse(answer);
    if (answer.status == 404 || answer.status == 410) return missing(answer);
    if (answer.status == 401) refuse(answer);
    const std::string linked = strong_tag(answer.linked_tag);
    if (linked.size() == kSumDigits && is_sha256(linked)) sum_ = linked;
    const bool ok = answer.status == 200;
    tag_ = !linked.empty() ? linked : ok ? strong_tag(answer.header("etag")) : "";
    size_ = count_of(answer.linked_size);
    if (!size_ && ok) size_ = count_of(answer.header("content-length"));
    return true;
  }

  // A hub says whether the file is missing, or all of its repository.
  bool missing(const Answer& answer) const {
    const std::string& error = answer.header("x-error-code");
    if (error.empty() || error == "EntryNotFound") return false;
    refuse(answer);
  }

  [[noreturn]] void refuse(const Answer& answer) const {
    if (answer.unreachable()) {
      fail(fmt::format(
          "cannot be fetched: {}; without a network fetch {} elsewhere and put it at {}, or name "
          "a file that is there",
          answer.trouble, what_.url, what_.path));
    }
    if (answer.broke_off()) {
      fail(fmt::format("the transfer from {} broke off: {}; {}", what_.url, answer.trouble,
                       again()));
    }
    if (answer.code != CURLE_OK) {
      fail(fmt::format("cannot be fetched from {}: {}", what_.url, answer.trouble));
    }
    std::string text = fmt::format("the server refuses {} (HTTP {})", what_.url, answer.status);
    const std::string& said = answer.header("x-error-message");
    if (!said.empty()) text += ": \"" + said.substr(0, 300) + "\"";
    if (answer.status == 401 || answer.status == 403 || !said.empty()) text += what_.refused;
    fail(text);
  }

  const char* again() const {
    return tag_.empty() ? "try again" : "start again to go on from there";
  }

  void check_room(const PartialFile& file) const {
    if (!size_) return;
    std::error_code error;
    const fs::space_info space = fs::space(fs::path(what_.path).parent_path(), error);
    const std::uint64_t needed = *size_ - file.size();
    if (error || space.available >= needed) return;
    fail(fmt::format(
        "needs {} in {}, which has {} free; free some space there, or set STRATA_CACHE "
        "to another folder",
        mib(needed), fs::path(what_.path).parent_path().string(), mib(space.available)));
  }

  bool transfer(PartialFile& file) {
    std::uint64_t most = file.size();
    if (size_ && most == *size_) return true;  // an earlier run ended before it could look at it
    for (int n = 1;; ++n) {
      const Answer answer = attempt(file);
      const bool whole = !size_ || file.size() == *size_;
      if (answer.code == CURLE_OK && (answer.status == 200 || answer.status == 206) && whole) {
        return true;
      }
      if (answer.code == CURLE_OK && (answer.status == 404 || answer.status == 410)) {
        return missing(answer);
      }
      const bool out_of_range = answer.code == CURLE_OK && answer.status == 416 && file.size() > 0;
      if (out_of_range) file.clear();
      if (file.size() > most) {  // it moves: count again from here
        most = file.size();
        n = 0;
      }
      const bool short_answer = answer.code == CURLE_OK && answer.status / 100 == 2;
      if (n >= what_.attempts || !(out_of_range || short_answer || answer.worth_another_try())) {
        if (!short_answer) refuse(answer);
        fail(fmt::format("{} gave {} bytes of {}; {}", what_.url, file.size(), *size_, again()));
      }
      std::this_thread::sleep_for(what_.pause * n);
    }
  }

  Answer attempt(PartialFile& file) {
    // Without a tag nobody knows whether the rest is of the same file.
    if (tag_.empty()) file.clear();
    const std::uint64_t from = file.size();
    bool first = true;
    // The tag of a hub is not that of the server it sends us to; there the sum tells.
    return Exchange(what_).get(
        from, sum_.empty() ? tag_ : "",
        [&](const Answer& answer, const char* bytes, std::size_t size) {
          if (answer.status != 200 && answer.status != 206) return;
          if (std::exchange(first, false)) {
            if (answer.header("content-type").starts_with("text/html")) {
              fail(what_.url + " gives a web page, not a file of weights");
            }
            const std::string begins = fmt::format("bytes {}-", from);
            if (answer.status == 206 && !answer.header("content-range").starts_with(begins)) {
              fail(fmt::format("{} was asked for bytes from {}, and answers with \"{}\"", what_.url,
                               from, answer.header("content-range")));
            }
            if (answer.status == 200) file.clear();
          }
          if (size_ && file.size() + size > *size_) {
            file.remove();
            fail(fmt::format("{} gives more than the {} bytes that it said", what_.url, *size_));
          }
          file.append(bytes, size);
          show(file.size());
        });
  }

  void show(std::uint64_t have) {
    const auto now = Clock::now();
    if (now - drawn_ < kRedraw) return;
    drawn_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    if (!first_) first_ = have;
    const std::string speed = mib(static_cast<double>(have - std::min(*first_, have)) / seconds);
    log::status(size_ ? fmt::format("{}: {} of {} ({} %), {}/s", what_.name, mib(have), mib(*size_),
                                    *size_ > 0 ? 100 * have / *size_ : 100, speed)
                      : fmt::format("{}: {}, {}/s", what_.name, mib(have), speed));
  }

  void verify(PartialFile& file) const {
    const std::string& wanted = what_.sha256.empty() ? sum_ : what_.sha256;
    if (wanted.empty()) return;
    const std::string sum = sha256_of(file.path());
    if (sum.starts_with(wanted)) return;
    file.remove();
    fail(
        fmt::format("{} gave {} bytes with the SHA-256 {}, expected {} (as {}); it was thrown "
                    "away",
                    what_.url, file.size(), sum, wanted,
                    what_.sha256.empty() ? "the server says" : what_.whose));
  }

  const Download& what_;
  std::string tag_, sum_;
  std::optional<std::uint64_t> size_, first_;
  Clock::time_point begin_ = Clock::now(), drawn_{};
};

}  // namespace

bool download(const Download& what) {
  try {
    return Fetch(what).run();
  } catch (const CheckpointError&) {
    throw;
  } catch (const UserError& error) {
    throw CheckpointError(what.name + ": " + error.what());
  }
}

std::string sha256_of(const std::string& path) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> context(::EVP_MD_CTX_new(),
                                                                          ::EVP_MD_CTX_free);
  ::EVP_DigestInit_ex(context.get(), ::EVP_sha256(), nullptr);
  read_blocks(path, [&](const char* bytes, std::size_t size) {
    ::EVP_DigestUpdate(context.get(), bytes, size);
  });
  std::array<unsigned char, kSumDigits / 2> sum{};
  ::EVP_DigestFinal_ex(context.get(), sum.data(), nullptr);
  std::string text;
  for (const unsigned char byte : sum) text += fmt::format("{:02x}", byte);
  return text;
}

bool is_sha256(const std::string& text) {
  return text.size() >= kLeastSumDigits && text.size() <= kSumDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void check_sha256(const std::string& path, const std::string& wanted, const std::string& whose) {
  const std::string sum = sha256_of(path);
  if (sum.starts_with(wanted)) return;
  throw CheckpointError(
      fmt::format("{}: has the SHA-256 {}, expected {} (as {}); take the right "
                  "file, or correct the sum",
                  path, sum, wanted, whose));
}

}  // namespace strata::io
