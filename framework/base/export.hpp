// Symbols are hidden by default; STRATA_API marks what plugins and tools may use.
#pragma once

#define STRATA_API __attribute__((visibility("default")))
