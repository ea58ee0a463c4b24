"""Options that would change nothing, refused in place of being ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...dit.mmdit_config import MMDiTConfig
from ...errors import InvalidInputError
from ...releases.release import Release

DISTILLED = "distilled"


class OfSome(NamedTuple):
    """An option of some releases: whose in words, whether a release is one of them, the value that changes nothing."""

    whom: str
    takes: Callable[[Release], bool]
    off: Any


OF_SOME = {
    "image_guidance_scale": OfSome("v1.3 and v2.0", lambda release: release.given == "types", 1.0),
    "condition_frame_edit": OfSome("v1.1 and v1.2", lambda release: release.given == "references", 0.0),
    "step_cache": OfSome("v1.2 and v1.3", lambda release: release.step_cache, 1),
    "image_resolution": OfSome("t2i2v of v2.0", lambda release: release.picture_first, None),
}


def takes(release: Release, name: str) -> bool:
    """Whether a release takes an option."""
    return name not in OF_SOME or OF_SOME[name].takes(release)


def check_takes(release: Release, values: Mapping[str, Any]) -> None:
    """Refuse what a release does not take."""
    for name, option in OF_SOME.items():
        if not option.takes(release) and values[name] != option.off:
            raise InvalidInputError(f"{name}={values[name]!r} is an option of {option.whom}, not of {release.name}")


def check_image_guidance(asked: Mapping[str, Any]) -> None:
    """Refuse guidance by given frames with a sampler that is not guided so."""
    if asked.get("sampler") == DISTILLED and "image_guidance_scale" in asked:
        raise InvalidInputError(
            f"image_guidance_scale={asked['image_guidance_scale']!r} has no effect with sampler='distilled', which "
            "sees each step once; sampler='rflow' takes it"
        )


def check_distilled(sampler: str, config: Any, path: Any, *, avoids: bool) -> None:
    """Refuse sampler "distilled" for a denoiser that is not told guidance, and with what to stay away from."""
    if sampler != DISTILLED:
        return
    if isinstance(config, MMDiTConfig) and not config.guidance_embed:
        raise InvalidInputError(
            f"sampler='distilled' needs a denoiser that reads guidance_scale; {path} has no layer guidance_in: "
            "use sampler='rflow'"
        )
    if avoids:
        raise InvalidInputError(
            "sampler='distilled' stays away from nothing: leave out negative_prompt and negative_prompt_embeds, or "
            "use sampler='rflow'"
        )


def without_scores(release: Release, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Options with every score off, since features in place of a prompt say none; refused where one is asked for."""
    for name in release.scores:
        if asked.get(name) not in (None, "off"):
            raise InvalidInputError(
                f"{name}={asked[name]!r} is said in the prompt, so it has no effect with prompt_embeds: encode a "
                "prompt that says it, or give a prompt"
            )
    return {**asked, **dict.fromkeys(release.scores, "off")}


def check_image_resolution(resolution: str | None, *, paints: bool) -> None:
    """Refuse the size of a picture that is not made."""
    if resolution is not None and not paints:
        raise InvalidInputError(
            f"image_resolution={resolution!r} is of the picture that cond_type='t2i2v' makes first; without that it "
            "has no effect"
        )
