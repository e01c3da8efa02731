#include "registry/registry.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace strata {
namespace {

struct Cup {
  static constexpr const char* kind = "cup";
  struct Context {};
  struct Statics {
    std::int64_t (*volume)(const void* options, std::int64_t scale);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, std::int64_t scale) {
      return Component::volume(*static_cast<const Options*>(options)) * scale;
    }};
  }
  virtual ~Cup() = default;
};

struct Plate {
  static constexpr const char* kind = "plate";
  struct Context {};
  virtual ~Plate() = default;
};

struct MugOptions {
  std::int64_t height = 2;
  static auto fields() {
    return std::tuple{config::field("height", &MugOptions::height, "centimetres")};
  }
};

struct Mug final : Cup {
  Mug(MugOptions, const Context&) {}
  static std::int64_t volume(const MugOptions& options) {
    if (options.height < 0) throw OptionError("height", "a mug has some");
    return options.height * 3;
  }
};

struct Saucer final : Plate {
  Saucer(NoOptions, const Context&) {}
};

TEST(Registry, NamesAreSortedAndAliasesFound) {
  Registry registry;
  registry.add<Cup, Mug, MugOptions>("Mug", "a mug", {"Becher"});
  registry.add<Cup, Mug, MugOptions>("Cup", "a cup");
  EXPECT_EQ(registry.kinds(), std::vector<std::string>{"cup"});
  EXPECT_EQ(registry.names("cup"), (std::vector<std::string>{"Cup", "Mug"}));
  EXPECT_EQ(registry.names("plate"), std::vector<std::string>{});
  EXPECT_EQ(registry.find("cup", "Becher")->name, "Mug");
  EXPECT_EQ(registry.find("cup", "Mug")->origin, "built-in");
  EXPECT_EQ(registry.find("plate", "Mug"), nullptr);
}

TEST(Registry, ANameBelongsToOne) {
  Registry registry;
  registry.add<Cup, Mug, MugOptions>("Mug", "a mug", {"Becher"});
  registry.set_origin("b.so");
  try {
    registry.add<Cup, Mug, MugOptions>("Becher", "again");
    FAIL();
  } catch (const std::logic_error& error) {
    EXPECT_STREQ(error.what(), "cup \"Becher\" is registered twice: by built-in and by b.so");
  }
  registry.add<Plate, Saucer, NoOptions>("Mug", "another kind has its own names");
}

TEST(Registry, MissingNamesAreExplained) {
  Registry registry;
  EXPECT_EQ(registry.explain_missing("cup", "Mug"),
            "no cup is named \"Mug\"; none is registered, does a plugin have it?");
  registry.add<Cup, Mug, MugOptions>("Mug", "a mug");
  registry.add<Plate, Saucer, NoOptions>("Saucer", "a saucer");
  EXPECT_EQ(registry.explain_missing("cup", "Mgu"),
            "no cup is named \"Mgu\"; did you mean \"Mug\"?");
  EXPECT_EQ(registry.explain_missing("cup", "Saucer"),
            "\"Saucer\" is a plate, a cup is needed here");
  EXPECT_EQ(registry.explain_missing("cup", "Thermos"),
            "no cup is named \"Thermos\"; known: \"Mug\"");
  for (char c = 'a'; c < 'p'; ++c) {
    registry.add<Cup, Mug, MugOptions>(std::string("Mug") + c + c + c + c, "a mug");
  }
  EXPECT_EQ(registry.explain_missing("cup", "Thermos"),
            "no cup is named \"Thermos\"; `list cup` names all 16");
}

TEST(Registry, MergeTakesAllOrNothing) {
  Registry registry, staged;
  registry.add<Cup, Mug, MugOptions>("Mug", "a mug");
  staged.set_origin("x.so");
  staged.add<Plate, Saucer, NoOptions>("Saucer", "a saucer");
  staged.add<Cup, Mug, MugOptions>("Mug", "another");
  try {
    registry.merge(std::move(staged));
    FAIL();
  } catch (const PluginError& error) {
    EXPECT_STREQ(error.what(),
                 "x.so: a cup named \"Mug\" is there already, from built-in; rename or leave out "
                 "one of them");
  }
  EXPECT_EQ(registry.find("plate", "Saucer"), nullptr);
  Registry clean;
  clean.set_origin("y.so");
  clean.add<Plate, Saucer, NoOptions>("Saucer", "a saucer");
  registry.merge(std::move(clean));
  EXPECT_EQ(registry.find("plate", "Saucer")->origin, "y.so");
}

TEST(Registry, StaticsAnswerBeforeBuilding) {
  Registry registry;
  registry.add<Cup, Mug, MugOptions>("Mug", "a mug");
  config::Value table{config::Table{}, {"c.toml", 1, 1}};
  auto bind = [&](std::int64_t height) {
    table.as_table()->set("type", config::Value{std::string("Mug"), {"c.toml", 1, 8}});
    table.as_table()->set("height", config::Value{height, {"c.toml", 2, 10}});
    config::Binder binder(registry);
    Slot<Cup> slot;
    binder.inside("cup", [&] { binder.bind_slot("cup", slot, table); });
    EXPECT_TRUE(binder.problems.empty());
    return slot;
  };
  EXPECT_EQ(bind(4).ask(&Cup::Statics::volume, std::int64_t{10}), 120);
  try {
    bind(-1).ask(&Cup::Statics::volume, std::int64_t{10});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "c.toml:2:10: cup.height: a mug has some, got -1");
  }
}

}  // namespace
}  // namespace strata
