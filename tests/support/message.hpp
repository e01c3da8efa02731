// The message of an error, for tests of its exact text.
#pragma once

#include <string>

#include "framework/base/error.hpp"

namespace strata::tests {

/// What a user would read; "no error" when `body` throws no UserError.
template <class Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace strata::tests
