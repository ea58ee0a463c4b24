// What Python calls: one function that launches a kernel, one that describes its parameters.
#pragma once

namespace emulation {

struct Parameter {  // kinds: p pointer, f float, i integer, b bfloat16, h half, s anything else; `to` of what it points to
  unsigned char size, kind, to, to_size, to_const;
};

template <class T>
constexpr char kind_of() {
  if constexpr (std::is_pointer_v<T>) return 'p';
  else if constexpr (std::is_floating_point_v<T>) return 'f';
  else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) return 'i';
  else if constexpr (std::is_same_v<T, __half>) return 'h';
  else if constexpr (std::is_same_v<T, __nv_bfloat16>) return 'b';
  else return 's';
}
template <class T>
constexpr unsigned char size_or_zero() {
  if constexpr (std::is_void_v<T>) return 0;
  else return sizeof(T);
}
template <class T>
constexpr Parameter parameter() {
  if constexpr (std::is_pointer_v<T>) {
    using To = std::remove_pointer_t<T>;
    return {sizeof(T), 'p', kind_of<std::remove_cv_t<To>>(), size_or_zero<To>(), std::is_const_v<To>};
  } else {
    return {sizeof(T), kind_of<std::remove_cv_t<T>>(), 0, 0, 0};
  }
}

template <class... A>
int describe_parameters(void (*)(A...), Parameter* out) {
  const Parameter all[] = {parameter<A>()..., Parameter{}};
  memcpy(out, all, sizeof(Parameter) * sizeof...(A));
  return int(sizeof...(A));
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<A>*>(values[I])...);
}
template <class... A>
void launch_kernel(void (*kernel)(A...), const unsigned* size, size_t shared, int schedule, void** values) {
  struct Bound {
    void (*kernel)(A...);
    void** values;
  } bound{kernel, values};
  launch(size, shared, schedule, [](void* p) {
    auto* b = static_cast<Bound*>(p);
    call(b->kernel, b->values, std::index_sequence_for<A...>{});
  }, &bound);
}

}  // namespace emulation

#define CUDA_EMULATION_EXPORT(symbol, ...)                                                                            \
  extern "C" __attribute__((visibility("default"))) int symbol##_parameters(emulation::Parameter* out) {              \
    return emulation::describe_parameters(__VA_ARGS__, out);                                                          \
  }                                                                                                                   \
  extern "C" __attribute__((visibility("default"))) uint64_t symbol(const unsigned* size, size_t shared,              \
                                                                    int schedule, void** values, char* error,         \
                                                                    uint64_t* counters) {                             \
    emulation::launch_kernel(__VA_ARGS__, size, shared, schedule, values);                                            \
    memcpy(error, emulation::machine.error, sizeof emulation::machine.error);                                         \
    memcpy(counters, &emulation::machine.count, sizeof(emulation::Counters));                                         \
    return emulation::fault_offset;                                                                                   \
  }
