// CLIP's tokenizer: byte pair encoding of lower-cased words (Sennrich et al., ACL 2016; Radford et
// al., ICML 2021).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::modules {

/// Where tools/setup puts the vocabulary of CLIP, whether it is there or not: the file
/// bpe_simple_vocab_16e6.txt.gz in the folder `clip` of the cache (io::strata_cache).
STRATA_API std::string default_clip_vocabulary();

/// Texts as ids: 512 of single bytes (inside of a word, and at its end), one a merge, then the marks
/// of start and end.
class STRATA_API ClipTokenizer {
 public:
  /// Reads a file of merges, a line "a b" each behind a first line that is left out, plain or in
  /// gzip; of CLIP's own the 48894 that it uses. Throws DataError "path:line: what is wrong".
  explicit ClipTokenizer(const std::string& path);

  std::int64_t size() const { return end() + 1; }
  std::int64_t start() const { return 512 + merges_; }
  std::int64_t end() const { return start() + 1; }

  /// The ids of a text without marks. HTML entities, white space, quotes and the forms of Unicode
  /// are brought to one form before; what was decoded from a wrong character set is not mended.
  /// Throws DataError when the text is no UTF-8.
  std::vector<std::int64_t> encode(const std::string& text) const;
  /// The same between its marks. Throws DataError when these are more than `length` ids.
  std::vector<std::int64_t> tokenize(const std::string& text, std::int64_t length) const;

 private:
  /// The ids of a word's bytes, merged as far as it goes, at the end of `ids`.
  void append_word(const std::string& word, std::vector<std::int64_t>& ids) const;

  std::int64_t merges_ = 0;
  std::unordered_map<std::uint64_t, std::int64_t> merged_;  // of a pair of ids: the earlier, the first
};

}  // namespace strata::modules
