// The names that a pickle of weights may speak of, and what each stands for here.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace strata::io {

/// What a global that is allowed stands for.
enum class Meaning : std::int64_t {
  ordered_dict,
  sequence,  // set(…): its first argument's items
  tensor_v1,
  tensor_v2,
  tensor_v3,
  parameter,
  tensor_like,     // _rebuild_from_type_v2(function, type, arguments, state)
  pass_first,      // gives its first argument
  attribute,       // getattr of an inert class, as MMEngine's histories have it: inert
  script_class,    // TorchScript: attributes become an object
  inert,           // known classes of values beside the weights
  storage = 1000,  // + scalar type
  untyped_storage = 1999,
  dtype = 2000,  // + scalar type
};

/// nullopt: the name is not allowed.
std::optional<Meaning> meaning_of(std::string_view module, std::string_view name);

/// The scalar type in a meaning of the range that begins at `base`, storage or dtype.
std::optional<at::ScalarType> type_of(Meaning meaning, Meaning base);

}  // namespace strata::io
