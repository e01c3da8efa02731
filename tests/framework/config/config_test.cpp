// Inheritance, overrides, references: what a composed config is, and what is said when it is wrong.
#include "framework/config/config.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace strata::config {
namespace {

namespace fs = std::filesystem;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    folder_ = fs::temp_directory_path() /
              ("strata_config_test_" + std::to_string(::getpid()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  ~ConfigTest() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  // Messages name files below the test's folder: taken out to compare whole texts.
  std::string plain(std::string text) const {
    const std::string prefix = folder_.string() + "/";
    for (auto at = text.find(prefix); at != std::string::npos; at = text.find(prefix)) {
      text.erase(at, prefix.size());
    }
    return text;
  }
  std::string problems(const Document& document) const {
    std::string text;
    for (const Problem& problem : document.problems) text += plain(problem.str()) + "\n";
    return text;
  }
  std::string failure(const std::string& path) const {
    try {
      load(path);
    } catch (const ConfigError& error) {
      return plain(error.what());
    }
    return "";
  }

  fs::path folder_;
};

std::string text_of(const Document& document, const std::string& path) {
  const Value* value = document.root.at(path);
  return value == nullptr ? "(none)" : value->str();
}

TEST_F(ConfigTest, ReadsEveryKindOfValueWithItsPlace) {
  const Document document = load_text(
      "a = 1\nb = 1.5\nc = true\nd = \"x\"\n[t]\ne = [1, [2, 3]]\nf = {g = 4}\n", "c.toml");
  EXPECT_EQ(document.root.str(),
            "{a = 1, b = 1.5, c = true, d = \"x\", t = {e = [1, [2, 3]], f = {g = 4}}}");
  EXPECT_EQ(document.root.at("t.e.1.0")->origin.str(), "c.toml:6:10");
  EXPECT_EQ(document.root.at("t.f.g")->origin.str(), "c.toml:7:10");
}

TEST_F(ConfigTest, KeepsTheOrderOfTheFile) {
  EXPECT_EQ(load_text("z = 1\na = 2\n[m]\ny = 1\nb = 2\n", "c.toml").root.str(),
            "{z = 1, a = 2, m = {y = 1, b = 2}}");
}

TEST_F(ConfigTest, LaterBasesWinAndTablesMerge) {
  write("a.toml", "x = 1\n[t]\nk = \"a\"\nl = [1, 2, 3]\n");
  write("sub/b.toml", "_base_ = \"../a.toml\"\nx = 2\n[t]\nm = 5\n");
  write("c.toml", "[t]\nl = [9]\n");
  const Document document = load(write("d.toml", "_base_ = [\"sub/b.toml\", \"c.toml\"]\ny = 3\n"));
  EXPECT_EQ(document.root.str(), "{x = 2, t = {k = \"a\", l = [9], m = 5}, y = 3}");
  ASSERT_EQ(document.files.size(), 4U);
  EXPECT_EQ(plain(document.files[0]), "a.toml");
  EXPECT_EQ(plain(document.files[3]), "d.toml");
}

TEST_F(ConfigTest, DeleteClearsAndAloneRemoves) {
  write("base.toml",
        "[hooks.ema]\ntype = \"EMA\"\ndecay = 0.9\n[hooks.log]\ntype = \"L\"\n[t]\na = 1\n");
  const Document document = load(write(
      "c.toml",
      "_base_ = \"base.toml\"\n[hooks]\nema = {_delete_ = true}\n[t]\n_delete_ = true\nb = 2\n"));
  EXPECT_EQ(document.root.str(), "{hooks = {log = {type = \"L\"}}, t = {b = 2}}");
}

TEST_F(ConfigTest, DeleteMustBeTrue) {
  write("base.toml", "[t]\na = 1\n");
  EXPECT_EQ(problems(load(write("c.toml", "_base_ = \"base.toml\"\n[t]\n_delete_ = 1\n"))),
            "c.toml:3:12: t._delete_: must be true (it clears what the bases put here), got 1\n");
}

TEST_F(ConfigTest, AnotherTypeDropsTheKeysOfTheOld) {
  write("base.toml", "[model.backbone]\ntype = \"ResNet\"\ndepth = 50\nstem = {deep = true}\n");
  const std::string child =
      write("c.toml", "_base_ = \"base.toml\"\n[model.backbone]\ntype = \"HRNet\"\nwidth = 18\n");
  EXPECT_EQ(load(child).root.str(), "{model = {backbone = {type = \"HRNet\", width = 18}}}");
  const std::string same =
      write("d.toml", "_base_ = \"base.toml\"\n[model.backbone]\ntype = \"ResNet\"\ndepth = 18\n");
  EXPECT_EQ(load(same).root.str(),
            "{model = {backbone = {type = \"ResNet\", depth = 18, stem = {deep = true}}}}");
}

TEST_F(ConfigTest, OverridesReachTablesArraysAndNewEntries) {
  const std::string text =
      "[t]\na = 1\nlist = [{type = \"A\", size = 1}, {type = \"B\"}]\nnumbers = [1, 2]\n";
  const Document document = load_text(
      text, "c.toml",
      {"t.a=2.5", "t.list.0.size=[256, 256]", "t.list.-1.p=0.5", "t.new.deep=word", "t.numbers.1=7",
       "t.numbers.+=8", "t.name=two words", "t.date=2024-01-01", "t.list.1.type=C"});
  EXPECT_EQ(problems(document), "");
  EXPECT_EQ(document.root.str(),
            "{t = {a = 2.5, list = [{type = \"A\", size = [256, 256]}, {type = \"C\", p = 0.5}], "
            "numbers = [1, 7, 8], new = {deep = \"word\"}, name = \"two words\", date = "
            "\"2024-01-01\"}}");
  EXPECT_EQ(document.root.at("t.a")->origin.str(), "--set t.a");
}

TEST_F(ConfigTest, OverridingATypeKeepsWhatOtherOverridesSay) {
  const std::string text = "[model.backbone]\ntype = \"ResNet\"\ndepth = 50\n";
  const std::string want = "{model = {backbone = {type = \"HRNet\", width = 18}}}";
  EXPECT_EQ(load_text(text, "c.toml", {"model.backbone.type=HRNet", "model.backbone.width=18"})
                .root.str(),
            want);
  EXPECT_EQ(load_text(text, "c.toml", {"model.backbone.width=18", "model.backbone.type=HRNet"})
                .root.as_table()
                ->find("model")
                ->at("backbone.width")
                ->str(),
            "18");
  EXPECT_EQ(load_text(text, "c.toml", {"model.backbone={type=\"HRNet\", width=18}"}).root.str(),
            want);
  EXPECT_EQ(
      load_text("[hooks.ema]\ntype = \"E\"\n", "c.toml", {"hooks.ema._delete_=true"}).root.str(),
      "{hooks = {}}");
}

TEST_F(ConfigTest, OverridesThatLeadNowhere) {
  const Document document = load_text(
      "a = 1\nlist = [1, 2]\n[vars]\nsize = 3\nused = \"${vars.size}${vars.used2}\"\nused2 = 1\n",
      "c.toml", {"a.b=2", "list.5=1", "list.x=1", "noequals", "q=[a, b]", "vars.siez=4", "=3"});
  EXPECT_EQ(
      problems(document),
      "--set a.b: a: must be a table or an array to have keys, got 1\n"
      "--set list.5: list: is an array of 2 elements, which needs an index, got \"5\"; indices "
      "start at 0, + appends\n"
      "--set list.x: list: is an array of 2 elements, which needs an index, got \"x\"; indices "
      "start at 0, + appends\n"
      "--set: needs KEY=VALUE, got \"noequals\"\n"
      "--set q: not a TOML value: error while parsing value: could not determine value type, "
      "got [a, b]; inside brackets and braces strings need quotes, for instance '[\"a\", "
      "\"b\"]'\n"
      "--set vars.siez: vars.siez: no file has this variable; did you mean \"size\"?\n"
      "--set: needs KEY=VALUE, got \"=3\"\n");
}

TEST_F(ConfigTest, ReferencesComeLastKeepTypesAndNest) {
  const std::string text =
      "crop = \"${vars.crop}\"\nname = \"run_${vars.crop.0}_${vars.f}\"\nprice = \"5$$ $ x\"\n"
      "pick = \"${vars.${vars.which}}\"\nthrough = \"${t.again.0}\"\n"
      "[t]\nagain = \"${crop}\"\n[vars]\ncrop = [256, 128]\nf = 0.5\nwhich = \"f\"\n";
  EXPECT_EQ(load_text(text, "c.toml").root.str(),
            "{crop = [256, 128], name = \"run_256_0.5\", price = \"5$ $ x\", pick = 0.5, through = "
            "256, t = {again = [256, 128]}}");
  EXPECT_EQ(text_of(load_text(text, "c.toml", {"vars.crop=[64, 32]"}), "t.again"), "[64, 32]");
}

TEST_F(ConfigTest, DeadAndCircularReferencesAreSaidOnce) {
  const Document document = load_text(
      "a = \"${b}\"\nb = \"${c}\"\nc = \"${a}\"\nd = \"${vars.corp}\"\ne = \"x${d}\"\n"
      "f = \"${open\"\ng = \"${t}\"\nh = \"-${t}\"\n[t]\nx = \"${g}\"\n[vars]\ncrop = 1\n",
      "c.toml");
  EXPECT_EQ(
      problems(document),
      "c.toml:1:5: a: references go in a circle: a -> b -> c -> a\n"
      "c.toml:4:5: d: reference to a key that is not there, got \"${vars.corp}\"; did you mean "
      "\"${vars.crop}\"?\n"
      "c.toml:6:5: f: \"${\" is never closed, got \"${open\"; a plain dollar is \"$$\"\n"
      "c.toml:7:5: g: references go in a circle: g -> t.x -> g\n"
      "c.toml:8:5: h: an entire table cannot stand inside a longer string, got \"-${t}\"\n");
}

TEST_F(ConfigTest, ReferencesThatGrowWithoutEnd) {
  // Each is the one before twice: 2^60 characters, 2^60 elements.
  std::string text = "s0 = \"ab\"\na0 = [1]\n";
  for (int i = 1; i < 60; ++i) {
    const std::string n = std::to_string(i), before = std::to_string(i - 1);
    text += "s" + n + " = \"${s" + before + "}${s" + before + "}\"\n";
    text += "a" + n + " = [\"${a" + before + "}\", \"${a" + before + "}\"]\n";
  }
  const Document document = load_text(text, "c.toml");
  ASSERT_EQ(document.problems.size(), 1U);
  EXPECT_NE(document.problems[0].what.find("references grow without end"), std::string::npos);
}

TEST_F(ConfigTest, ReferencesThatLeadTooDeep) {
  std::string chain = "a0 = 1\n", nested;
  for (int i = 1; i < 5000; ++i) {  // the last one first: each is found in the middle of another
    chain.insert(0, "a" + std::to_string(i) + " = \"${a" + std::to_string(i - 1) + "}\"\n");
  }
  const Document document = load_text(chain, "c.toml");
  ASSERT_FALSE(document.problems.empty());
  EXPECT_EQ(document.problems[0].what, "references lead too deep");
  for (int i = 0; i < 5000; ++i) nested.insert(0, "${").push_back('}');
  EXPECT_EQ(problems(load_text("a = \"" + nested + "\"\n", "c.toml")),
            "c.toml:1:5: a: references lead too deep\n");
}

TEST_F(ConfigTest, TablesThatNestTooDeep) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      load_text(text, "c.toml");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  const auto key = [](int parts) {
    std::string text = "a";
    for (int i = 1; i < parts; ++i) text += ".a";
    return text;
  };
  EXPECT_EQ(message("[" + key(100) + "]\n"), "");
  const std::string parts = "c.toml:2: a key has more than 100 parts";
  EXPECT_EQ(message("\n" + key(300'000) + " = 1\n"), parts);
  EXPECT_EQ(message("x = \"\"\"\\\"# \n\"\"\"\"\n[" + key(300'000) + "]\n"),
            "c.toml:3: a key has more than 100 parts");
  EXPECT_EQ(message("# " + key(200) + "\nx = ['" + key(200) + "', \"" + key(200) + "\"]\n"), "")
      << "no keys";
  std::string floats = "x = [0.5";
  for (int i = 0; i < 300; ++i) floats += ", 0.5";
  EXPECT_EQ(message(floats + "]\n"), "");
  EXPECT_EQ(message("[" + key(60) + "]\n" + key(60) + " = 1\n"),
            "c.toml:2:81: " + key(40) + ".…: nests deeper than 100 levels");
}

TEST_F(ConfigTest, Environment) {
  ::setenv("STRATA_TEST_SET", "7", 1);
  ::unsetenv("STRATA_TEST_UNSET");
  const Document document = load_text(
      "a = \"${env:STRATA_TEST_SET}\"\nb = \"x${env:STRATA_TEST_UNSET:-y}\"\nc = "
      "\"${env:STRATA_TEST_UNSET}\"\n",
      "c.toml");
  EXPECT_EQ(text_of(document, "a"), "\"7\"");
  EXPECT_TRUE(document.root.at("a")->loose);
  EXPECT_EQ(text_of(document, "b"), "\"xy\"");
  EXPECT_EQ(problems(document),
            "c.toml:3:5: c: the environment variable \"STRATA_TEST_UNSET\" is not set, got "
            "\"${env:STRATA_TEST_UNSET}\"; set it, or give a default: "
            "\"${env:STRATA_TEST_UNSET:-default}\"\n");
}

TEST_F(ConfigTest, UnusedVariableIsAWarning) {
  const Document document = load_text("a = 1\n[vars]\nsize = 3\n", "c.toml");
  ASSERT_EQ(document.warnings.size(), 1U);
  EXPECT_EQ(document.warnings[0].str(), "c.toml:3:1: vars.size: no \"${vars.size}\" uses it");
}

TEST_F(ConfigTest, FilesThatCannotBeRead) {
  EXPECT_EQ(failure((folder_ / "none.toml").string()), "none.toml: no such file");
  EXPECT_EQ(failure(folder_.string()), folder_.string() + ": is a folder, a TOML file is needed");
  EXPECT_EQ(failure(write("a.toml", "_base_ = \"/dev/zero\"\n")),
            "a.toml:1:10: _base_: \"/dev/zero\": is a device or a pipe, a TOML file is needed");
  ASSERT_EQ(::mkfifo((folder_ / "pipe.toml").c_str(), 0600), 0);
  EXPECT_EQ(failure((folder_ / "pipe.toml").string()),
            "pipe.toml: is a device or a pipe, a TOML file is needed");
  EXPECT_EQ(failure(write("a.toml", "\n_base_ = [\"b.toml\", \"none.toml\"]\n")),
            "a.toml:2:11: _base_: \"b.toml\": no such file");
  write("x.toml", "_base_ = \"y.toml\"\n");
  EXPECT_EQ(failure(write("y.toml", "_base_ = \"x.toml\"\n")),
            "x.toml:1:10: _base_: files are based on each other: y.toml -> x.toml -> y.toml");
  EXPECT_EQ(failure(write("t.toml", "a = 1\nb = = 2\n")),
            "t.toml:2:5: not valid TOML: error while parsing value: could not determine "
            "value type");
  EXPECT_EQ(failure(write("twice.toml", "a = 1\na = 2\n")),
            "twice.toml:2:5: not valid TOML: error while parsing key-value pair: cannot redefine "
            "existing integer 'a'");
  EXPECT_EQ(
      failure(write("date.toml", "[t]\nday = 2024-01-02\nat = 10:00:00\n")),
      "date.toml:2:7: t.day: dates are not used in configs, got 2024-01-02; write it in quotes: "
      "\"2024-01-02\"\n"
      "date.toml:3:6: t.at: dates are not used in configs, got 10:00:00; write it in quotes: "
      "\"10:00:00\"");
}

TEST_F(ConfigTest, ExplainsWhereAValueComesFrom) {
  write("base.toml", "[model.backbone]\ntype = \"ResNet\"\ndepth = 50\n");
  const Document document = load(
      write("c.toml",
            "_base_ = \"base.toml\"\n[model.backbone]\ntype = \"HRNet\"\nwidth = \"${vars.w}\"\n"
            "[vars]\nw = 18\n"),
      {"vars.w=32"});
  EXPECT_EQ(
      plain(explain(document, "model.backbone")),
      "model.backbone.depth\n  base.toml:3:9: set to 50\n  c.toml:3:8: removed\n  now: not set\n"
      "model.backbone.type\n  base.toml:2:8: set to \"ResNet\"\n  c.toml:3:8: set to \"HRNet\"\n"
      "model.backbone.width\n  c.toml:4:9: set to \"${vars.w}\"\n  now: 32, through "
      "\"${vars.w}\", set at --set vars.w\n");
  EXPECT_EQ(plain(explain(document, "vars.w")),
            "vars.w\n  c.toml:6:5: set to 18\n  --set vars.w: set to 32\n");
  try {
    explain(document, "model.bakcbone");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(
        error.what(),
        "model.bakcbone: nothing in this config sets it; did you mean \"model.backbone\"?");
  }
}

TEST_F(ConfigTest, PathsOfOddKeysLeadBackToThem) {
  std::string odd = "a.b \"q\" \\ \u00fc u0041 '";
  for (char c = 1; c < 0x20; ++c) odd += c;
  odd += '\x7f';
  const std::vector<std::string> keys{"plain", odd, "", "n"};
  std::string path;
  for (const std::string& key : keys) path = join_path(path, key);
  EXPECT_EQ(split_path(path), keys) << path;

  const Document document = load_text("\"\\t\".\"\\u0001x\" = 1\n", "c.toml");
  EXPECT_EQ(diff(document, document), "");
  EXPECT_EQ(explain(document, "\"\\t\""), "\"\\t\".\"\\u0001x\"\n  c.toml:1:18: set to 1\n");
}

TEST_F(ConfigTest, DiffNamesBothOrigins) {
  const Document a = load_text("x = 1\ny = [1]\n[t]\nk = 1\n", "a.toml");
  const Document b = load_text("x = 1\ny = [2]\nt = 5\nz = 3\n", "b.toml");
  EXPECT_EQ(diff(a, a), "");
  EXPECT_EQ(diff(a, b),
            "- y = [1]  # a.toml:2:5\n+ y = [2]  # b.toml:2:5\n- t.k = 1  # a.toml:4:5\n+ t = 5  # "
            "b.toml:3:5\n+ z = 3  # b.toml:4:5\n");
}

TEST_F(ConfigTest, WritesTomlThatReadsBackTheSame) {
  const std::string text =
      "s = \"a \\\"q\\\" \\\\ \\n \\u0001 $${x} ü\"\nf = [1.0, 1e-300, inf, -0.5]\nempty = []\n"
      "\"odd key\" = 1\n[t]\n[t.\"a.b\"]\nk = [{a = 1, b = [true]}, {}]\n[u.v]\nw = 1\n";
  const Document document = load_text(text, "c.toml");
  const std::string dumped = to_toml(document.root, {.escape_references = true});
  EXPECT_EQ(load_text(dumped, "again.toml").root, document.root) << dumped;
}

}  // namespace
}  // namespace strata::config
