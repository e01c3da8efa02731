// Binding and dumping: every sentence that the layer can say, word for word.
#include "framework/config/schema.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "framework/config/config.hpp"
#include "registry/registry.hpp"

namespace strata::config {
namespace {

struct Part {
  static constexpr const char* kind = "part";
  struct Context {
    std::int64_t channels = 0;
  };
  virtual ~Part() = default;
  virtual std::int64_t size() const = 0;
};

struct Tool {
  static constexpr const char* kind = "tool";
  struct Context {};
  virtual ~Tool() = default;
};

struct WheelOptions {
  std::int64_t radius = 3;
  std::optional<std::int64_t> in_channels;
  static auto fields() {
    return std::tuple{field("radius", &WheelOptions::radius, "radius in cells").at_least(1),
                      field("in_channels", &WheelOptions::in_channels, "channels of the input")};
  }
};

struct Wheel final : Part {
  Wheel(WheelOptions options, const Context& context) : options_(options) {
    if (options.in_channels && *options.in_channels != context.channels) {
      throw OptionError("in_channels", "the level in front of it has " +
                                           std::to_string(context.channels) + " channels");
    }
  }
  std::int64_t size() const override { return options_.radius; }
  WheelOptions options_;
};

struct CrankOptions {
  Slot<Part> inner;
  static auto fields() {
    return std::tuple{field("inner", &CrankOptions::inner, "what it turns").required()};
  }
};
struct Crank final : Part {
  Crank(CrankOptions options, const Context& context) : inner(options.inner.build(context)) {}
  std::int64_t size() const override { return inner->size() + 1; }
  std::shared_ptr<Part> inner;
};

struct Hammer final : Tool {
  Hammer(NoOptions, const Context&) {}
};

struct Clip {
  double norm = 1.0;
  bool hard = false;
  static constexpr const char* shorthand = "norm";
  static auto fields() {
    return std::tuple{field("norm", &Clip::norm, "largest norm").above(0),
                      field("hard", &Clip::hard, "whether it cuts")};
  }
};

struct Everything {
  bool flag = false;
  std::int64_t count = 2;
  std::int64_t depth = 50;
  double rate = 0.5;
  std::string mode = "nearest";
  Path file;
  std::optional<double> limit;
  std::vector<std::int64_t> size = {1, 2};
  std::vector<std::string> globs;
  Clip clip;
  Clip tight{0.1, true};
  Slot<Part> part;
  std::vector<Slot<Part>> parts;
  Named<Clip> clips;
  Value any;
  std::string old_way;
  static auto fields() {
    return std::tuple{
        field("flag", &Everything::flag, "a flag"),
        field("count", &Everything::count, "how many").at_least(0).at_most(9).alias("number"),
        field("depth", &Everything::depth, "layers").one_of({18, 50}),
        field("rate", &Everything::rate, "a share").at_least(0).below(1),
        field("mode", &Everything::mode, "how").one_of({"nearest", "bilinear"}),
        field("file", &Everything::file, "a file"),
        field("limit", &Everything::limit, "a limit").at_most(10),
        field("size", &Everything::size, "height and width").size(2).at_least(1),
        field("globs", &Everything::globs, "patterns").one_or_many().not_empty(),
        field("clip", &Everything::clip, "limits"),
        field("tight", &Everything::tight, "limits of another default"),
        field("part", &Everything::part, "a part"),
        field("parts", &Everything::parts, "more parts"),
        field("clips", &Everything::clips, "limits by name"),
        field("any", &Everything::any, "anything"),
        field("old_way", &Everything::old_way, "gone").deprecated("use mode")};
  }
};

struct Required {
  std::int64_t width = 0;
  static auto fields() {
    return std::tuple{field("width", &Required::width, "pixels across").required()};
  }
};

class SchemaTest : public ::testing::Test {
 protected:
  SchemaTest() {
    registry_.add<Part, Wheel, WheelOptions>("Wheel", "turns", {"OldWheel"});
    registry_.add<Part, Crank, CrankOptions>("Crank", "turns a part");
    registry_.add<Tool, Hammer, NoOptions>("Hammer", "hits");
  }

  template <class Options>
  std::string said(const std::string& text, std::vector<std::string> overrides = {}) {
    Document document = load_text(text, "c.toml", overrides);
    try {
      bind_document<Options>(document, registry_);
    } catch (const ConfigError& error) {
      return error.what();
    }
    std::string warnings;
    for (const Problem& warning : document.warnings) warnings += warning.str() + "\n";
    return warnings.empty() ? "fine" : "warning: " + warnings;
  }
  std::string said(const std::string& text) { return said<Everything>(text); }

  Everything bound(const std::string& text, const std::string& folder = "") {
    Document document = load_text(text, "c.toml", {}, folder);
    return bind_document<Everything>(document, registry_);
  }

  Registry registry_;
};

TEST_F(SchemaTest, ReadsEveryType) {
  const Everything e = bound(
      "flag = true\ncount = 3\ndepth = 18\nrate = 0\nmode = \"bilinear\"\nlimit = 2\nsize = [4, "
      "5]\n"
      "globs = \"a\"\nclip = 2\nany = [1, {b = 2}]\npart = {type = \"Wheel\", radius = 7}\n"
      "parts = [\"Wheel\", {type = \"Crank\", inner = \"Wheel\"}]\n[clips.z]\nnorm = "
      "3\n[clips.a]\n");
  EXPECT_TRUE(e.flag);
  EXPECT_EQ(e.count, 3);
  EXPECT_EQ(e.depth, 18);
  EXPECT_EQ(e.rate, 0.0);
  EXPECT_EQ(e.mode, "bilinear");
  EXPECT_EQ(e.limit, 2.0);
  EXPECT_EQ(e.size, (std::vector<std::int64_t>{4, 5}));
  EXPECT_EQ(e.globs, std::vector<std::string>{"a"});
  EXPECT_EQ(e.clip.norm, 2.0);
  EXPECT_EQ(e.any.str(), "[1, {b = 2}]");
  EXPECT_EQ(e.part.build({})->size(), 7);
  EXPECT_EQ(e.parts.at(1).build({})->size(), 4);
  EXPECT_EQ(e.parts.at(1).path, "parts.1");
  EXPECT_EQ(e.clips.at(0).first, "z");
  EXPECT_EQ(e.clips.at(0).second.norm, 3.0);
  EXPECT_EQ(e.clips.at(1).second.norm, 1.0);
}

TEST_F(SchemaTest, UnknownKeys) {
  EXPECT_EQ(said("\nflga = true\n"), "c.toml:2:1: flga: unknown key; did you mean \"flag\"?");
  EXPECT_EQ(said("[clip]\nnrom = 1\n"),
            "c.toml:2:1: clip.nrom: unknown key; did you mean \"norm\"?");
  EXPECT_EQ(said("[clip]\nxyzzy = 1\n"),
            "c.toml:2:1: clip.xyzzy: unknown key; known keys: \"norm\", \"hard\"");
  EXPECT_EQ(said("part = {type = \"Wheel\", raduis = 1}\n"),
            "c.toml:1:25: part.raduis: unknown key; did you mean \"radius\"?");
  EXPECT_EQ(said<Everything>("", {"clip.nrom=1"}),
            "--set clip.nrom: clip.nrom: unknown key; did you mean \"norm\"?");
}

TEST_F(SchemaTest, WrongTypes) {
  EXPECT_EQ(said("flag = 1\n"), "c.toml:1:8: flag: must be true or false, got 1");
  EXPECT_EQ(said("count = 2.0\n"), "c.toml:1:9: count: must be an integer, got 2.0");
  EXPECT_EQ(said("count = true\n"), "c.toml:1:9: count: must be an integer, got true");
  EXPECT_EQ(said("rate = \"0.1\"\n"), "c.toml:1:8: rate: must be a number, got \"0.1\"");
  EXPECT_EQ(said("mode = 1\n"), "c.toml:1:8: mode: must be a string, got 1");
  EXPECT_EQ(said("size = 2\n"),
            "c.toml:1:8: size: must be an array, got 2; write it in brackets: [2]");
  EXPECT_EQ(said("size = [1, \"x\"]\n"), "c.toml:1:12: size.1: must be an integer, got \"x\"");
  EXPECT_EQ(said("tight = \"x\"\n"), "c.toml:1:9: tight: must be a number, got \"x\"");
  EXPECT_EQ(said("clips = 1\n"), "c.toml:1:9: clips: must be a table, got 1");
}

TEST_F(SchemaTest, BoundsChoicesSizes) {
  EXPECT_EQ(said("count = 10\n"), "c.toml:1:9: count: must be between 0 and 9, got 10");
  EXPECT_EQ(said("rate = 1\n"), "c.toml:1:8: rate: must be at least 0 and below 1, got 1");
  EXPECT_EQ(said("rate = nan\n"), "c.toml:1:8: rate: must be at least 0 and below 1, got nan");
  EXPECT_EQ(said("limit = 11\n"), "c.toml:1:9: limit: must be at most 10, got 11");
  EXPECT_EQ(said("clip = 0\n"), "c.toml:1:8: clip: must be above 0, got 0");
  EXPECT_EQ(said("depth = 34\n"), "c.toml:1:9: depth: must be one of 18, 50, got 34");
  EXPECT_EQ(
      said("mode = \"biliner\"\n"),
      "c.toml:1:8: mode: must be one of \"nearest\", \"bilinear\", got \"biliner\"; did you mean "
      "\"bilinear\"?");
  EXPECT_EQ(said("size = [1, 2, 3]\n"), "c.toml:1:8: size: must have 2 elements, got [1, 2, 3]");
  EXPECT_EQ(said("size = [1, 0]\n"), "c.toml:1:12: size.1: must be at least 1, got 0");
  EXPECT_EQ(said("globs = []\n"), "c.toml:1:9: globs: must not be empty, got []");
}

TEST_F(SchemaTest, MissingAndOldKeys) {
  EXPECT_EQ(said<Required>("\n"), "c.toml:1:1: width: required key is missing (pixels across)");
  EXPECT_EQ(said("number = 3\n"), "warning: c.toml:1:1: number: is the old name of \"count\"\n");
  EXPECT_EQ(said("count = 1\nnumber = 3\n"),
            "c.toml:2:1: number: is the old name of \"count\", which is set as well");
  EXPECT_EQ(said("old_way = \"x\"\n"), "warning: c.toml:1:1: old_way: is going away; use mode\n");
  EXPECT_EQ(said("part = \"OldWheel\"\n"),
            "warning: c.toml:1:8: part: \"OldWheel\" is the old name of \"Wheel\"\n");
}

TEST_F(SchemaTest, Components) {
  EXPECT_EQ(said("part = {radius = 3}\n"),
            "c.toml:1:8: part: no \"type\" says which part this is; known: \"Crank\", \"Wheel\"");
  EXPECT_EQ(said("part = {type = \"Whel\"}\n"),
            "c.toml:1:16: part: no part is named \"Whel\"; did you mean \"Wheel\"?");
  EXPECT_EQ(said("part = \"Gearbox\"\n"),
            "c.toml:1:8: part: no part is named \"Gearbox\"; known: \"Crank\", \"Wheel\"");
  EXPECT_EQ(said("part = {type = \"Hammer\"}\n"),
            "c.toml:1:16: part: \"Hammer\" is a tool, a part is needed here");
  EXPECT_EQ(said("part = 3\n"),
            "c.toml:1:8: part: must be a table with a \"type\", or the name of a part, got 3");
  EXPECT_EQ(said("part = {type = 3}\n"),
            "c.toml:1:16: part: type must be the name of a part, got 3");
  EXPECT_EQ(said("part = {type = \"Crank\"}\n"),
            "c.toml:1:8: part.inner: required key is missing (what it turns)");
  EXPECT_EQ(said("parts = [{type = \"Crank\", inner = {type = \"Wheel\", radius = 0}}]\n"),
            "c.toml:1:61: parts.0.inner.radius: must be at least 1, got 0");
}

TEST_F(SchemaTest, EverythingWrongIsSaidAtOnceInOrder) {
  EXPECT_EQ(
      said("count = -1\nflag = 2\nmode = \"${vars.m}\"\n[clip]\nx = 1\n[vars]\nn = 1\n"),
      "c.toml:1:9: count: must be between 0 and 9, got -1\n"
      "c.toml:2:8: flag: must be true or false, got 2\n"
      "c.toml:3:8: mode: reference to a key that is not there, got \"${vars.m}\"; did you mean "
      "\"${vars.n}\"?\n"
      "c.toml:5:1: clip.x: unknown key; known keys: \"norm\", \"hard\"");
}

TEST_F(SchemaTest, ReferencesSayWhereTheValueWasWritten) {
  EXPECT_EQ(said("count = \"${vars.n}\"\n[vars]\nn = 12\n"),
            "c.toml:1:9: count: must be between 0 and 9, got 12 (through \"${vars.n}\", set at "
            "c.toml:3:5)");
  ::setenv("STRATA_TEST_COUNT", "4", 1);
  EXPECT_EQ(
      bound("count = \"${env:STRATA_TEST_COUNT}\"\nflag = \"${env:STRATA_NO:-true}\"\n").count, 4);
  ::setenv("STRATA_TEST_COUNT", "4x", 1);
  EXPECT_EQ(said("count = \"${env:STRATA_TEST_COUNT}\"\n"),
            "c.toml:1:9: count: must be an integer, got \"4x\" (through "
            "\"${env:STRATA_TEST_COUNT}\", set in the environment)");
}

TEST_F(SchemaTest, PathsCountFromTheirFile) {
  EXPECT_EQ(bound("file = \"../a.txt\"\n", "/x/y").file.resolved, "/x/a.txt");
  EXPECT_EQ(bound("file = \"/abs\"\n", "/x/y").file.resolved, "/abs");
  EXPECT_EQ(bound("file = \"a\"\n").file.resolved, "a");
  EXPECT_EQ(bound("file = \"\"\n", "/x").file.resolved, "");
  EXPECT_EQ(bound("file = \"${vars.root}/b\"\n[vars]\nroot = \"../d\"\n", "/x/y").file.resolved,
            "/x/d/b");
}

TEST_F(SchemaTest, ComponentsSpeakAboutTheirOwnKeys) {
  const Everything e = bound("part = {type = \"Wheel\", in_channels = 3}\n");
  try {
    e.part.build({5});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "c.toml:1:39: part.in_channels: the level in front of it has 5 channels, got 3");
  }
}

TEST_F(SchemaTest, DumpsReadBackTheSame) {
  const std::string text =
      "flag = true\nmode = \"bilinear\"\nlimit = 2\nglobs = \"a\"\nclip = 2\nany = {b = 2}\n"
      "tight = {norm = 1.0}\n"
      "part = {type = \"Crank\", inner = {type = \"Wheel\", radius = 3, in_channels = 8}}\n"
      "[clips.z]\nnorm = 3\n[clips.a]\n";
  const Everything e = bound(text);
  const Schema& schema = schema_of<Everything>();
  EXPECT_EQ(
      dump_object(schema, &e, false).str(),
      "{flag = true, mode = \"bilinear\", limit = 2.0, globs = [\"a\"], clip = {norm = 2.0}, "
      "tight = {norm = 1.0}, part = {type = \"Crank\", inner = {type = \"Wheel\", in_channels = "
      "8}}, clips = {z = {norm = 3.0}, a = {}}, any = {b = 2}}");
  for (const bool full : {true, false}) {
    const Value dumped = dump_object(schema, &e, full);
    const Everything again = bound(to_toml(dumped, {.escape_references = true}));
    EXPECT_EQ(dump_object(schema, &again, true), dump_object(schema, &e, true)) << dumped.str();
  }
  const Everything fresh;
  EXPECT_EQ(dump_object(schema, &fresh, false).str(), "{}");
}

}  // namespace
}  // namespace strata::config
