// Where an adapter may sit. Sites are types: a placement is a list of them, checked by the compiler.
#pragma once

#include <concepts>
#include <type_traits>

namespace morphvlm {

/// The language model's own attention projections (q, k, v, o).
struct SelfAttn {};
/// The gated cross-attention projections (to_q, to_kv, to_out).
struct CrossAttn {};
/// The language model's own feed-forward.
struct Mlp {};
/// The feed-forward of the gated cross-attention blocks (ff.1, ff.3).
struct CrossMlp {};

/// Several sites under one name; may be nested.
template <class... S>
struct Sites {};

/// All attention: Multimodal-GPT's q, k, v, o, to_q, to_kv, to_out.
using Attn = Sites<SelfAttn, CrossAttn>;
/// All feed-forward blocks.
using FeedForward = Sites<Mlp, CrossMlp>;

/// One of the four places that a projection can name as its own.
template <class S>
concept AdapterSite = std::same_as<S, SelfAttn> || std::same_as<S, CrossAttn> || std::same_as<S, Mlp> ||
    std::same_as<S, CrossMlp>;

namespace detail {
template <class S>
struct IsSiteList : std::bool_constant<AdapterSite<S>> {};
template <class... S>
struct IsSiteList<Sites<S...>> : std::bool_constant<(IsSiteList<S>::value && ...)> {};

template <class S, class Site>
struct Covers : std::is_same<S, Site> {};
template <class... S, class Site>
struct Covers<Sites<S...>, Site> : std::bool_constant<(Covers<S, Site>::value || ...)> {};
}  // namespace detail

/// A site or a list of sites.
template <class S>
concept SiteList = detail::IsSiteList<S>::value;

/// Whether the site list S contains the site `Site`.
template <SiteList S, AdapterSite Site>
inline constexpr bool covers = detail::Covers<S, Site>::value;

}  // namespace morphvlm
