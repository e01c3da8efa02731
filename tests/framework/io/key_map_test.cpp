#include "framework/io/key_map.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.hpp"

namespace strata::io {
namespace {

TensorMap named(const std::vector<std::string>& names) {
  TensorMap tensors;
  for (const std::string& name : names) tensors.emplace_back(name, at::zeros({1}));
  return tensors;
}

std::vector<std::string> names_of(const TensorMap& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

std::string mistake(const std::string& rule) {
  try {
    parse_rule(rule);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(KeyRules, StarsKeepWhatTheyMatch) {
  const KeyRules rules({parse_rule("stages.*.blocks.*.conv** => never"),
                        parse_rule("stages.*.blocks.*.** => layer*.*.**"),
                        parse_rule("head => decode"), parse_rule("head.fc => never")});
  EXPECT_EQ(rules.rename("stages.1.blocks.20.a.weight"), "layer1.20.a.weight");
  EXPECT_EQ(rules.rename("stages.1.blocks.2"), "stages.1.blocks.2");
  EXPECT_EQ(rules.rename("stages.1.x.blocks.2.a"), "stages.1.x.blocks.2.a");  // * is one segment
  EXPECT_EQ(rules.rename("head.fc.weight"), "decode.fc.weight");  // the first one decides
  EXPECT_EQ(rules.rename("header.weight"), "header.weight");
}

TEST(KeyRules, SaysWhichRuleWasUsed) {
  const KeyRules rules({{"a", "x"}, {"b.*", "y.*"}, {"c", "", true}});
  std::ptrdiff_t used = 7;
  EXPECT_EQ(rules.rename("b.1", &used), "y.1");
  EXPECT_EQ(used, 1);
  EXPECT_EQ(rules.rename("d", &used), "d");
  EXPECT_EQ(used, -1);
  EXPECT_EQ(rules.rename("c.d", &used), std::nullopt);
  EXPECT_EQ(used, 2);
}

TEST(KeyRules, MistakesInRules) {
  EXPECT_EQ(mistake("a -> b"), "\"a -> b\" is no rule for names, expected \"FROM => TO\"");
  EXPECT_EQ(mistake("a.* => "), "\"a.* => \" is no rule for names: a side of it is empty");
  EXPECT_EQ(mistake("a.* => b.*.*"),
            "\"a.* => b.*.*\" has more stars on its right side than on its left");
}

TEST(KeyRules, JoinPartsInTheirOrderAndTransposeWhereAsked) {
  const auto transposed = [](const at::Tensor& matrix) { return matrix.t(); };
  std::vector<KeyRule> rules = {{"*.q.weight", "*.in.weight"}, {"*.k.weight", "*.in.weight"},
                                {"proj.weight", "proj", false, transposed, transposed}};
  rules[0].join = 1;
  rules[1].join = 2;
  const at::Tensor q = at::rand({2, 3}), k = at::rand({4, 3}), proj = at::rand({2, 3});
  const TensorMap file = {{"a.k.weight", k}, {"proj.weight", proj}, {"a.q.weight", q}};
  MatchOptions options;
  options.layouts.push_back({"parts", rules});
  const KeyMatch match = match_keys(file, {"a.in.weight", "proj"}, options);
  for (const TensorMap& renamed : {KeyRules(rules).rename(file), match.tensors}) {
    EXPECT_EQ(names_of(renamed), (std::vector<std::string>{"a.in.weight", "proj"}));
    EXPECT_TRUE(at::equal(renamed[0].second, at::cat({q, k})));
    EXPECT_TRUE(at::equal(renamed[1].second, proj.t()));
  }
  EXPECT_EQ(match.layout, "parts");
  EXPECT_EQ(match.matched, 2u);
  EXPECT_THROW(inverse(rules), UserError);
}

TEST(MatchKeys, OurOwnNamesWin) {
  MatchOptions options;
  options.layouts.push_back({"other", {{"fc", "", true}}});
  const auto match = match_keys(named({"a.weight", "b.weight"}), {"a.weight", "b.weight"}, options);
  EXPECT_EQ(match.layout, "");
  EXPECT_EQ(match.prefix, "");
  EXPECT_EQ(match.matched, 2u);
}

TEST(MatchKeys, OfEqualLayoutsTheOneThatLeavesLeast) {
  MatchOptions options;
  options.layouts.push_back({"other", {{"fc", "", true}}});
  const auto match =
      match_keys(named({"a.weight", "b.weight", "fc.weight"}), {"a.weight", "b.weight"}, options);
  EXPECT_EQ(match.layout, "other");
  EXPECT_EQ(match.dropped, 1u);
  EXPECT_EQ(names_of(match.tensors), (std::vector<std::string>{"a.weight", "b.weight"}));
}

TEST(MatchKeys, FindsPrefixes) {
  const auto file = named({"net.encoder.x.weight", "net.encoder.y.weight", "net.head.weight"});
  MatchOptions options;
  options.layouts.push_back({"other", {{"x", "a"}, {"y", "b"}}});
  auto match = match_keys(file, {"a.weight", "b.weight"}, options);
  EXPECT_EQ(match.layout, "other");
  EXPECT_EQ(match.prefix, "net.encoder.");
  EXPECT_EQ(match.outside, 1u);
  EXPECT_EQ(names_of(match.tensors), (std::vector<std::string>{"a.weight", "b.weight"}));
  // Of a whole model nothing is passed over.
  options.keep_outside = true;
  match = match_keys(file, {"a.weight", "b.weight"}, options);
  EXPECT_EQ(names_of(match.tensors),
            (std::vector<std::string>{"a.weight", "b.weight", "net.head.weight"}));
  // A prefix that is given is the only one.
  options.prefix = "net.";
  match = match_keys(file, {"head.weight"}, options);
  EXPECT_EQ(match.prefix, "net.");
  EXPECT_EQ(match.matched, 1u);
  // Too few names for a guess, but a likely one.
  TensorMap many = named({"neck.a.weight"});
  for (int i = 0; i < 20; ++i) many.emplace_back("body." + std::to_string(i), at::zeros({1}));
  MatchOptions likely;
  likely.likely = {"neck."};
  EXPECT_EQ(match_keys(many, {"a.weight"}, likely).prefix, "neck.");
}

TEST(MatchKeys, WhatFitsNothingKeepsItsNames) {
  MatchOptions options;
  options.layouts.push_back({"other", {{"fc", "gone"}}});
  const auto match = match_keys(named({"fc.weight"}), {"a.weight"}, options);
  EXPECT_EQ(match.matched, 0u);
  EXPECT_EQ(names_of(match.tensors), std::vector<std::string>{"fc.weight"});
}

}  // namespace
}  // namespace strata::io
