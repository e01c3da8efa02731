// Configs from the text to the options: TOML, bases, overrides, references, binding, and back to
// text. Lines "#set KEY=VALUE" are overrides.
#include <sstream>

#include "framework/config/config.hpp"
#include "registry/registry.hpp"
#include "tests/fuzz/target.hpp"

namespace strata::fuzz {
namespace {

struct Part {
  static constexpr const char* kind = "part";
  struct Context {};
  virtual ~Part() = default;
};

struct WheelOptions {
  std::int64_t spokes = 8;
  double width = 0.5;
  static auto fields() {
    using config::field;
    return std::tuple{field("spokes", &WheelOptions::spokes, "").at_least(1).alias("rays"),
                      field("width", &WheelOptions::width, "").above(0).at_most(1)};
  }
};
struct Wheel : Part {
  Wheel(const WheelOptions&, const Context&) {}
};

struct CartOptions {
  bool flag = false;
  std::string name = "cart";
  config::Path path;
  config::Value any;
  WheelOptions wheel;
  std::optional<double> maybe;
  std::vector<std::int64_t> numbers;
  std::vector<std::vector<double>> rows;
  config::Named<WheelOptions> named;
  Slot<Part> part;
  std::vector<Slot<Part>> parts;
  static auto fields() {
    using O = CartOptions;
    using config::field;
    return std::tuple{field("flag", &O::flag, ""),
                      field("name", &O::name, "").one_of({"cart", "waggon"}),
                      field("path", &O::path, ""),
                      field("any", &O::any, ""),
                      field("wheel", &O::wheel, ""),
                      field("maybe", &O::maybe, ""),
                      field("numbers", &O::numbers, "").one_or_many().not_empty(),
                      field("rows", &O::rows, ""),
                      field("named", &O::named, ""),
                      field("part", &O::part, ""),
                      field("parts", &O::parts, "")};
  }
};

const Registry& registry() {
  static const auto filled = [] {
    auto made = std::make_unique<Registry>();
    made->add<Part, Wheel, WheelOptions>("Wheel", "", {"Disc"});
    return made;
  }();
  return *filled;
}

void check_config(const std::string& text) {
  std::vector<std::string> overrides;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#set ")) overrides.push_back(line.substr(5));
  }
  // Bases are those of the tests.
  config::Document document =
      config::load_text(text, "fuzz.toml", overrides, STRATA_SOURCE_DIR "/tests/configs");
  if (!document.history.empty()) static_cast<void>(config::explain(document, ""));
  require(config::diff(document, document).empty(), "a config differs from itself");
  if (document.problems.empty()) {
    const std::string written = config::to_toml(document.root, {.escape_references = true});
    const config::Document again = config::load_text(written, "again.toml");
    require(again.root == document.root, "a config reads back as another:\n" + written);
  }
  const auto options = config::bind_document<CartOptions>(document, registry());
  static_cast<void>(config::dump_object(config::schema_of<CartOptions>(), &options));
}

}  // namespace

int toml(const std::uint8_t* data, std::size_t size) {
  try {
    check_config({reinterpret_cast<const char*>(data), size});
  } catch (const ConfigError& error) {
    require(!error.problems().empty(), "an error without a problem");
    for (const Problem& problem : error.problems()) {
      require(!problem.where.source.empty() && !problem.what.empty(),
              "a problem without its place: " + problem.str());
    }
  }
  return 0;
}

}  // namespace strata::fuzz
