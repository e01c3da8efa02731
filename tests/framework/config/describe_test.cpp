#include "framework/config/describe.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "registry/registry.hpp"

namespace strata::config {
namespace {

struct Gear {
  static constexpr const char* kind = "gear";
  struct Context {};
  virtual ~Gear() = default;
};

struct SpurOptions {
  std::int64_t teeth = 12;
  std::string mode = "a";
  Slot<Gear> next;
  static auto fields() {
    return std::tuple{field("teeth", &SpurOptions::teeth, "how many").at_least(3).below(100),
                      field("mode", &SpurOptions::mode, "which way").one_of({"a", "b"}),
                      field("next", &SpurOptions::next, "the one it drives")};
  }
};
struct Spur final : Gear {
  Spur(SpurOptions, const Context&) {}
};

struct Box {
  std::int64_t width = 0;
  static constexpr const char* shorthand = "width";
  static auto fields() { return std::tuple{field("width", &Box::width, "a | b").required()}; }
};

struct Machine {
  Slot<Gear> gear;
  std::vector<double> size = {1.5, 2};
  Named<Box> boxes;
  std::optional<Box> box;
  std::vector<std::string> tags;
  static auto fields() {
    return std::tuple{field("gear", &Machine::gear, "first gear").required(),
                      field("size", &Machine::size, "in metres").size(2).above(0),
                      field("boxes", &Machine::boxes, "by name"),
                      field("box", &Machine::box, "one more"),
                      field("tags", &Machine::tags, "words").one_or_many()};
  }
};

Registry& registry() {
  static Registry one;
  if (one.kinds().empty()) one.add<Gear, Spur, SpurOptions>("Spur", "straight teeth", {"Old"});
  return one;
}

TEST(Describe, OneLineAKey) {
  EXPECT_EQ(describe(schema_of<Machine>()),
            "  gear  (required)              gear                            first gear\n"
            "  size = [1.5, 2.0]             array of 2 numbers, above 0     in metres\n"
            "  boxes = {}                    table of named tables           by name\n"
            "  boxes.NAME.width  (required)  integer                         a | b\n"
            "  box                           table, or its width alone       one more\n"
            "  box.width  (required)         integer                         a | b\n"
            "  tags = []                     array of strings, or one alone  words\n");
}

TEST(Describe, Component) {
  EXPECT_EQ(describe(*registry().find("gear", "Spur")),
            "Spur (gear, built-in)\nstraight teeth\nold name: Old\n\n"
            "  teeth = 12  integer, at least 3, below 100  how many\n"
            "  mode = \"a\"  string: \"a\", \"b\"                which way\n"
            "  next        gear                            the one it drives\n");
}

TEST(Describe, FindsTablesByPath) {
  EXPECT_EQ(find_schema(schema_of<Machine>(), ""), &schema_of<Machine>());
  EXPECT_EQ(find_schema(schema_of<Machine>(), "box"), &schema_of<Box>());
  EXPECT_EQ(find_schema(schema_of<Machine>(), "size"), nullptr);
  EXPECT_EQ(find_schema(schema_of<Machine>(), "bax"), nullptr);
}

TEST(Describe, Markdown) {
  EXPECT_EQ(markdown_of_kind(registry(), "gear"),
            "# gear\n\nWritten by `list --markdown`; not to be edited.\n\n## Spur\nstraight "
            "teeth\n\nOld name: `Old`.\n\n| key | default | type | meaning |\n|---|---|---|---|\n"
            "| `teeth` | `12` | integer, at least 3, below 100 | how many |\n"
            "| `mode` | `\"a\"` | string: \"a\", \"b\" | which way |\n"
            "| `next` |  | gear | the one it drives |\n");
  EXPECT_NE(markdown_of_config(schema_of<Machine>()).find("| a \\| b |"), std::string::npos);
}

TEST(JsonSchema, IsDraft4OfTheSameFields) {
  const auto schema = nlohmann::json::parse(json_schema(schema_of<Machine>(), registry()));
  EXPECT_EQ(schema["$schema"], "http://json-schema.org/draft-04/schema#");
  EXPECT_EQ(schema["additionalProperties"], false);
  const auto& properties = schema["properties"];
  for (const char* key : {"gear", "size", "boxes", "box", "tags", "_base_", "vars"}) {
    EXPECT_TRUE(properties.contains(key)) << key;
  }
  EXPECT_EQ(properties["gear"]["anyOf"][0]["$ref"], "#/definitions/gear");
  EXPECT_EQ(properties["size"]["x-taplo"]["docs"]["main"], "in metres");
  EXPECT_EQ(properties["size"]["anyOf"][0]["maxItems"], 2);
  const auto& number = properties["size"]["anyOf"][0]["items"]["anyOf"][0];
  EXPECT_EQ(number["minimum"], 0);
  EXPECT_EQ(number["exclusiveMinimum"], true);  // a flag in draft 4, a number from draft 6 on

  const auto& gear = schema["definitions"]["gear"]["anyOf"];
  EXPECT_EQ(gear[1]["enum"], nlohmann::json::array({"Spur"}));
  EXPECT_EQ(gear[2]["$ref"], "#/definitions/gear.Spur");
  const auto& spur = schema["definitions"]["gear.Spur"];
  EXPECT_EQ(spur["properties"]["type"]["enum"], nlohmann::json::array({"Spur", "Old"}));
  EXPECT_EQ(spur["additionalProperties"], false);
  EXPECT_EQ(spur["properties"]["teeth"]["default"], 12);
  EXPECT_EQ(spur["properties"]["mode"]["anyOf"][0]["enum"], nlohmann::json::array({"a", "b"}));

  // Every reference leads somewhere.
  std::function<void(const nlohmann::json&)> walk = [&](const nlohmann::json& node) {
    if (node.is_object() && node.contains("$ref")) {
      const std::string target = node["$ref"];
      EXPECT_TRUE(schema["definitions"].contains(target.substr(14))) << target;
    }
    for (const auto& child : node) {
      if (child.is_structured()) walk(child);
    }
  };
  walk(schema);
}

}  // namespace
}  // namespace strata::config
