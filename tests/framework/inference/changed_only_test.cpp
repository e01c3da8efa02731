// Semantic change in SECOND's coding.
#include "framework/inference/changed_only.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.hpp"
#include "tests/support/message.hpp"

namespace strata::inference {
namespace {

LabelSpecs specs(bool change, std::int64_t ignore_index = 255) {
  config::Named<LabelSpec> named;
  LabelSpec label;
  label.classes = {"water", "ground", "tree"};
  label.ignore_index = ignore_index;
  named.emplace_back("before", label);
  label.date = 1;
  named.emplace_back("after", label);
  if (change) {
    label.classes = {"no", "yes"};
    label.role = "change";
    named.emplace_back("change", label);
  }
  return LabelSpecs(std::move(named));
}

Output logits(const std::string& target, const at::Tensor& data) {
  return {.data = data,
          .activation = data.size(1) == 1 ? Output::Activation::sigmoid : Output::Activation::softmax,
          .target = target};
}

TEST(ChangedOnly, NamesClassesWhereSomethingChanged) {
  const ChangedOnly coding(specs(true, 3));
  EXPECT_EQ(coding.labels().find("after")->classes,
            (std::vector<std::string>{"unchanged", "water", "ground", "tree"}));
  EXPECT_EQ(coding.labels().find("after")->palette.front(), (std::vector<std::int64_t>{255, 255, 255}));
  EXPECT_EQ(coding.labels().find("after")->ignore_index, 4);
  EXPECT_EQ(coding.labels().find("change")->classes.size(), 2U);

  const at::Tensor water = at::tensor({9., 0., 0.}), tree = at::tensor({0., 0., 9.});
  const at::Tensor before = at::stack({water, tree}, 1).view({1, 3, 1, 2});
  const at::Tensor after = at::stack({tree, water}, 1).view({1, 3, 1, 2});
  const at::Tensor change = at::tensor({2., -2.}).view({1, 1, 1, 2});
  const Outputs given = {{"before.logits", logits("before", before)},
                         {"after.logits", logits("after", after)},
                         {"change.logits", logits("change", change)}};
  const Outputs coded = coding(given);
  EXPECT_TRUE(at::equal(labels(*find_output(coded, "before")), at::tensor({1, 0}, at::kLong).view({1, 1, 2})));
  EXPECT_TRUE(at::equal(labels(*find_output(coded, "after")), at::tensor({3, 0}, at::kLong).view({1, 1, 2})));
  EXPECT_TRUE(at::equal(find_output(coded, "change")->data, change));
}

TEST(ChangedOnly, NeedsBoth) {
  EXPECT_EQ(tests::message_of([] { ChangedOnly coding(specs(false)); }),
            "--changed-only: needs labels of what stands there (role \"semantic\") and of where it "
            "changed (role \"change\") in data.labels");
  EXPECT_EQ(tests::message_of([] {
              ChangedOnly(specs(true))({{"before.logits", logits("before", at::zeros({1, 3, 1, 1}))}});
            }),
            "--changed-only: the model does not predict \"change\"");
}

}  // namespace
}  // namespace strata::inference
