/* What a plugin says about itself before any C++ symbol of it is touched. Plain C layout: fields
 * are only ever appended, `struct_size` says how many there are. */
#ifndef STRATA_PLUGIN_ABI_H
#define STRATA_PLUGIN_ABI_H

#include <stddef.h>

#define STRATA_PLUGIN_API 1

#ifdef __cplusplus
namespace strata { class Registry; }
typedef void (*strata_register_function)(strata::Registry&);
extern "C" {
#else
typedef void (*strata_register_function)(void*);
#endif

typedef struct strata_plugin_info_t {
  size_t struct_size;
  int api;                  /* STRATA_PLUGIN_API */
  const char* strata;       /* framework version, "0.1.0" */
  const char* libtorch;     /* TORCH_VERSION, or "none" for a plugin without torch */
  const char* compiler;     /* "gcc 12" */
  const char* cxx_standard; /* "202002" */
  const char* cxx11_abi;    /* "1" */
  const char* cuda;         /* "13.0" or "cpu" */
  const char* build_type;   /* "release", "debug", "asan" */
  const char* name;
  const char* version;
  const char* licence;
  strata_register_function register_components;
} strata_plugin_info_t;

/* The one symbol that the loader looks for. */
typedef const strata_plugin_info_t* (*strata_plugin_info_function)(void);
#define STRATA_PLUGIN_SYMBOL "strata_plugin_info"

#ifdef __cplusplus
}
#endif
#endif
