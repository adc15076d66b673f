// expect: module.head()
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/vlm/vlm.hpp"

struct Language : morphvlm::OpenLLaMA {
  template <morphvlm::AdapterPolicy P>
  struct Module : morphvlm::Llama<P> {
#ifdef MORPHVLM_BAD
    void head() const = delete;
#endif
  };
};
static_assert(morphvlm::LanguageModel<Language>);

int main() {}
