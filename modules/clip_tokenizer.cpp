#include "modules/clip_tokenizer.hpp"

#include <fmt/format.h>
#include <libdeflate.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/pretrained.hpp"

namespace strata::modules {
namespace {

using Character = utf8proc_int32_t;
using Characters = std::vector<Character>;

constexpr std::int64_t kBytes = 256;
constexpr std::size_t kClipMerges = 49152 - 256 - 2;
constexpr std::size_t kMostInflated = 256 << 20;

/// The bytes in the order of their ids: first those that print in Latin-1.
std::array<unsigned char, kBytes> bytes_in_order() {
  const auto prints = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  std::array<unsigned char, kBytes> order{};
  std::size_t next = 0;
  for (const bool wanted : {true, false}) {
    for (int b = 0; b < kBytes; ++b) {
      if (prints(b) == wanted) order[next++] = static_cast<unsigned char>(b);
    }
  }
  return order;
}

/// From a byte to its id inside of a word.
const std::array<std::int64_t, kBytes>& ids_of_bytes() {
  static const auto ids = [] {
    std::array<std::int64_t, kBytes> made{};
    const auto order = bytes_in_order();
    for (std::size_t i = 0; i < order.size(); ++i) made[order[i]] = static_cast<std::int64_t>(i);
    return made;
  }();
  return ids;
}

std::string to_utf8(Character c) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto size = utf8proc_encode_char(c, bytes.data());
  return {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size)};
}

// --- the file ------------------------------------------------------------------------------------

std::string inflate(const std::string& bytes, const std::string& path) {
  const auto fail = [&] { throw DataError(path + ": is damaged: its gzip data cannot be read"); };
  std::uint32_t size = 0;  // gzip's last word
  if (bytes.size() < 18) fail();
  std::memcpy(&size, bytes.data() + bytes.size() - sizeof size, sizeof size);
  if (size > kMostInflated) fail();
  std::string text(size, '\0');
  const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> inflater(
      libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (libdeflate_gzip_decompress(inflater.get(), bytes.data(), bytes.size(), text.data(),
                                 text.size(), nullptr) != LIBDEFLATE_SUCCESS) {
    fail();
  }
  return text;
}

// --- cleaning ------------------------------------------------------------------------------------

Characters decode(const std::string& text) {
  Characters characters;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    Character c = 0;
    const auto size =
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &c);
    if (size < 0) throw DataError(fmt::format("a text is no UTF-8 at its byte {}", at));
    characters.push_back(c);
    at += static_cast<std::size_t>(size);
  }
  return characters;
}

/// Canonical composition, straight quotes, and plain letters for ligatures and full widths: what of
/// ftfy's work on a text is a matter of form.
std::string normalized(const std::string& text) {
  std::string plain;
  for (const Character c : decode(text)) {
    if (c >= 0x2018 && c <= 0x201b) {
      plain += '\'';
    } else if (c >= 0x201c && c <= 0x201f) {
      plain += '"';
    } else if ((c >= 0xfb00 && c <= 0xfb06) || (c >= 0xff01 && c <= 0xffef) || c == 0x3000) {
      std::array<Character, 8> parts{};
      const auto count = utf8proc_decompose_char(
          c, parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
          static_cast<utf8proc_option_t>(UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE), nullptr);
      for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) plain += to_utf8(parts[i]);
    } else if (c >= 32 || c == '\t' || c == '\n' || c == '\f' || c == '\r') {
      plain += to_utf8(c);
    }
  }
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> composed(
      utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(plain.c_str())), std::free);
  return composed ? reinterpret_cast<const char*>(composed.get()) : plain;
}

/// "&amp;" and the like of a text, those of numbers among them, as the characters they stand for.
std::string unescaped(const std::string& text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kNames{
      {{"amp", "&"}, {"lt", "<"}, {"gt", ">"}, {"quot", "\""}, {"apos", "'"}, {"nbsp", "\u00a0"}}};
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t semicolon = text[at] == '&' ? text.find(';', at) : std::string::npos;
    const std::string_view name =
        semicolon == std::string::npos
            ? std::string_view{}
            : std::string_view(text).substr(at + 1, semicolon - at - 1);
    const auto* known = std::ranges::find(kNames, name, [](const auto& entry) { return entry.first; });
    Character number = 0;
    if (name.size() >= 2 && name.size() <= 9 && name[0] == '#') {
      const bool hex = name[1] == 'x' || name[1] == 'X';
      const std::string digits(name.substr(hex ? 2 : 1));
      const bool right = !digits.empty() && digits.find_first_not_of(
                                                hex ? "0123456789abcdefABCDEF" : "0123456789") ==
                                                std::string::npos;
      if (right) number = static_cast<Character>(std::strtol(digits.c_str(), nullptr, hex ? 16 : 10));
    }
    if (known != kNames.end()) {
      out += known->second;
    } else if (number > 0 && utf8proc_codepoint_valid(number)) {
      out += to_utf8(number);
    } else {
      out += text[at++];
      continue;
    }
    at = semicolon + 1;
  }
  return out;
}

bool is_space(Character c) {
  const auto category = utf8proc_category(c);
  return (c >= 9 && c <= 13) || c == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
         category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}
bool is_letter(Character c) {
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_number(Character c) {
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}
bool is_other(Character c) { return !is_space(c) && !is_letter(c) && !is_number(c); }

// --- words ---------------------------------------------------------------------------------------

constexpr std::string_view kStart = "<|startoftext|>", kEnd = "<|endoftext|>";

/// How many characters the word at `at` has, which is no space.
std::size_t word_size(const Characters& text, std::size_t at) {
  const auto begins_with = [&](std::string_view what) {
    return text.size() - at >= what.size() &&
           std::equal(what.begin(), what.end(), text.begin() + static_cast<std::ptrdiff_t>(at));
  };
  for (const std::string_view whole : {kStart, kEnd, std::string_view("'s"), std::string_view("'t"),
                                       std::string_view("'re"), std::string_view("'ve"),
                                       std::string_view("'m"), std::string_view("'ll"),
                                       std::string_view("'d")}) {
    if (begins_with(whole)) return whole.size();
  }
  if (is_number(text[at])) return 1;
  bool (*const same)(Character) = is_letter(text[at]) ? is_letter : is_other;
  std::size_t end = at + 1;
  while (end < text.size() && same(text[end])) ++end;
  return end - at;
}

std::uint64_t pair_of(std::int64_t left, std::int64_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
}

}  // namespace

std::string default_clip_vocabulary() {
  return io::strata_cache() + "/clip/bpe_simple_vocab_16e6.txt.gz";
}

ClipTokenizer::ClipTokenizer(const std::string& path) {
  std::string text = read_text(path);
  if (text.starts_with("\x1f\x8b")) text = inflate(text, path);
  // The names of symbols: a byte's character, "</w>" behind it at the end of a word.
  std::unordered_map<std::string, std::int64_t> ids;
  const auto order = bytes_in_order();
  Character next = kBytes;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::string name = to_utf8(i < 188 ? order[i] : next++);
    ids[name] = static_cast<std::int64_t>(i);
    ids[name + "</w>"] = kBytes + static_cast<std::int64_t>(i);
  }
  std::size_t at = text.find('\n'), line = 1;
  while (at < text.size() && static_cast<std::size_t>(merges_) < kClipMerges) {
    const std::size_t begin = at + 1, end = std::min(text.find('\n', begin), text.size());
    const std::string merge = text.substr(begin, end - begin);
    at = end;
    ++line;
    if (merge.empty() && end == text.size()) break;
    const std::size_t space = merge.find(' ');
    const auto left = ids.find(merge.substr(0, space));
    const auto right = space == std::string::npos ? ids.end() : ids.find(merge.substr(space + 1));
    if (left == ids.end() || right == ids.end()) {
      throw DataError(fmt::format("{}:{}: is no merge of two symbols before it, got \"{}\"", path,
                                  line, merge.substr(0, 80)));
    }
    const std::int64_t id = 2 * kBytes + merges_++;
    merged_.emplace(pair_of(left->second, right->second), id);
    ids[left->first + right->first] = id;
  }
}

void ClipTokenizer::append_word(const std::string& word, std::vector<std::int64_t>& ids) const {
  std::vector<std::int64_t> symbols;
  for (const char byte : word) {
    symbols.push_back(ids_of_bytes()[static_cast<unsigned char>(byte)]);
  }
  symbols.back() += kBytes;
  const auto merge_of = [&](std::size_t i) {
    const auto found = merged_.find(pair_of(symbols[i], symbols[i + 1]));
    return found == merged_.end() ? size() : found->second;
  };
  for (;;) {  // the earliest merge of all, wherever it fits
    std::int64_t best = size(), left = 0, right = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (const std::int64_t merge = merge_of(i); merge < best) {
        best = merge, left = symbols[i], right = symbols[i + 1];
      }
    }
    if (best == size()) break;
    std::size_t to = 0;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const bool fits =
          i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
      symbols[to++] = fits ? best : symbols[i];
      i += fits;
    }
    symbols.resize(to);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::vector<std::int64_t> ClipTokenizer::encode(const std::string& text) const {
  Characters characters = decode(unescaped(unescaped(normalized(text))));
  for (Character& c : characters) c = utf8proc_tolower(c);
  std::vector<std::int64_t> ids;
  for (std::size_t at = 0; at < characters.size();) {
    if (is_space(characters[at])) {
      ++at;
      continue;
    }
    const std::size_t end = at + word_size(characters, at);
    std::string word;
    for (; at < end; ++at) word += to_utf8(characters[at]);
    if (word == kStart || word == kEnd) {
      ids.push_back(word == kStart ? start() : this->end());
    } else {
      append_word(word, ids);
    }
  }
  return ids;
}

std::vector<std::int64_t> ClipTokenizer::tokenize(const std::string& text,
                                                  std::int64_t length) const {
  std::vector<std::int64_t> ids = encode(text);
  ids.insert(ids.begin(), start());
  ids.push_back(end());
  if (static_cast<std::int64_t>(ids.size()) > length) {
    throw DataError(fmt::format("the text \"{}\" is too long: has {} tokens, got room for {}; "
                                "shorten it",
                                text.size() > 80 ? text.substr(0, 80) + "…" : text, ids.size(),
                                length));
  }
  return ids;
}

}  // namespace strata::modules
