// CLIP's tokenizer against ids that open_clip gives (tests/parity/clip.py), and what it refuses.
#include "modules/clip_tokenizer.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/message.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata {
namespace {

using modules::ClipTokenizer;
using Ids = std::vector<std::int64_t>;

const std::string kClipData = STRATA_SOURCE_DIR "/tests/data/clip/";

void expect_ids(const ClipTokenizer& tokenizer, const char* vocabulary) {
  const auto rows = nlohmann::json::parse(tests::file_content(kClipData + "tokens.json"));
  ASSERT_GE(rows.size(), 20);
  for (const auto& row : rows) {
    EXPECT_EQ(tokenizer.encode(row["text"]), row[vocabulary].get<Ids>()) << row["text"];
  }
}

TEST(ClipTokenizer, EqualsOpenClipWithTheTinyVocabulary) {
  const ClipTokenizer tokenizer(kClipData + "vocabulary.txt");
  EXPECT_EQ(tokenizer.size(), 512 + 200 + 2);
  expect_ids(tokenizer, "tiny");
}

TEST(ClipTokenizer, EqualsOpenClipWithTheWholeVocabulary) {
  const std::string path = modules::default_clip_vocabulary();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing: tools/setup --clip";
  const ClipTokenizer tokenizer(path);
  EXPECT_EQ(tokenizer.size(), 49408);
  EXPECT_EQ(tokenizer.start(), 49406);
  EXPECT_EQ(tokenizer.end(), 49407);
  EXPECT_EQ(tokenizer.tokenize("remote sensing image background objects", 77),
            (Ids{49406, 9687, 29236, 2867, 5994, 13770, 49407}));
  EXPECT_EQ(tokenizer.tokenize("remote sensing image foreground objects", 77),
            (Ids{49406, 9687, 29236, 2867, 35186, 13770, 49407}));
  EXPECT_EQ(tokenizer.tokenize("Hello World! It's 2024, é 中", 77),
            (Ids{49406, 3306, 1002, 256, 585, 568, 273, 271, 273, 275, 267, 4166, 19759, 511,
                 49407}));
  expect_ids(tokenizer, "clip");
}

TEST(ClipTokenizer, MergesTheEarliestPairEverywhere) {
  const tests::TempDir dir;
  tests::write_file(dir / "v.txt", "#version\nb c\na b\nbc bc\n");
  const ClipTokenizer tokenizer(dir / "v.txt");
  EXPECT_EQ(tokenizer.size(), 512 + 3 + 2);
  // "b c" goes before "a b", though that stands further left; the last letter ends the word.
  EXPECT_EQ(tokenizer.encode("abcb"), (Ids{64, 512, 65 + 256}));
  EXPECT_EQ(tokenizer.encode("bcbcd"), (Ids{514, 67 + 256}));
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{513, 64, 65 + 256}));
}

TEST(ClipTokenizer, NamesTextsThatAreTooLongOrNoText) {
  const ClipTokenizer tokenizer(kClipData + "vocabulary.txt");
  EXPECT_EQ(tokenizer.tokenize("image", 3).size(), 3);
  EXPECT_EQ(tests::message_of([&] { tokenizer.tokenize("remote sensing", 3); }),
            "the text \"remote sensing\" is too long: has 4 tokens, got room for 3; shorten it");
  EXPECT_EQ(tests::message_of([&] { tokenizer.encode("a\xff"); }),
            "a text is no UTF-8 at its byte 1");
}

TEST(ClipTokenizer, RefusesDamagedVocabularies) {
  const tests::TempDir dir;
  const std::string path = dir / "v.txt";
  tests::write_file(path, "#version\na b\na bc\n");
  EXPECT_EQ(tests::message_of([&] { ClipTokenizer{path}; }),
            path + ":3: is no merge of two symbols before it, got \"a bc\"");
  tests::write_file(path, "#version\nab\n");
  EXPECT_EQ(tests::message_of([&] { ClipTokenizer{path}; }),
            path + ":2: is no merge of two symbols before it, got \"ab\"");
  tests::write_file(path, std::string("\x1f\x8b\x08\0\0\0\0\0\0\3garbage_here", 22));
  EXPECT_EQ(tests::message_of([&] { ClipTokenizer{path}; }),
            path + ": is damaged: its gzip data cannot be read");
  EXPECT_EQ(tests::message_of([&] { ClipTokenizer{dir / "none"}; }).find(dir / "none"), 0);
}

}  // namespace
}  // namespace strata
