// What a plugin should be: two components, as a built-in would declare them.
#include "tests/plugins/part.hpp"

namespace strata::tests {

struct BoltOptions {
  std::int64_t size = 6;
  static auto fields() {
    return std::tuple{
        config::field("size", &BoltOptions::size, "millimetres").at_least(1).at_most(40)};
  }
};

class Bolt final : public Part {
 public:
  Bolt(BoltOptions options, const Context& context)
      : name_(context.prefix + std::to_string(options.size)) {}
  std::string name() const override { return name_; }

 private:
  std::string name_;
};

class Nut final : public Part {
 public:
  Nut(NoOptions, const Context&) {}
  std::string name() const override { return "nut"; }
};

}  // namespace strata::tests

STRATA_COMPONENTS(good) {
  using namespace strata::tests;
  registry.add<Part, Bolt, BoltOptions>("Bolt", "holds");
  registry.add<Part, Nut, strata::NoOptions>("Nut", "is held");
}
