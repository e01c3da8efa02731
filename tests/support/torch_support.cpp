#include "tests/support/seed.hpp"
