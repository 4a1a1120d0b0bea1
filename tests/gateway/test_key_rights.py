"""What the holder of an API key sees and may do: models, settings and actions."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from inferencehub.core.auth.caller import MOST_KEPT, names_like
from inferencehub.pb import open_inference_pb2 as pb
from tests.gateway.keyed_hub import (
    ASKED,
    CALLS,
    INFER,
    bearer,
    failure,
    hub_with_keys,
    over_grpc,
    sentence,
)


async def test_a_holder_sees_only_the_models_of_the_key(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        few, every = {"headers": bearer("few")}, {"headers": bearer("all")}
        refused = "key 'few' may not use model 'hidden'"
        for path in CALLS:
            body = json.loads(json.dumps(CALLS[path]).replace("quick", "hidden"))
            found, answer, _ = await hub.post(path.replace("quick", "hidden"), body, **few)
            assert (found, sentence(answer)) == (403, refused), path
        for path in ASKED:
            if "quick" in path:
                found, answer, _ = await hub.get(path.replace("quick", "hidden"), **few)
                assert (found, sentence(answer)) == (403, refused), path
        for headers, names in ((few, ["quick"]), (every, ["hidden", "quick"])):
            _, listed, _ = await hub.get("/v2/models", **headers)
            assert [model["name"] for model in listed["models"]] == names
            _, listed, _ = await hub.get("/v1/models", **headers)
            assert listed["models"] == [model["id"] for model in listed["data"]] == names
            _, listed, _ = await hub.post("/v2/repository/index", {}, **headers)
            assert [model["name"] for model in listed] == names
            _, listed, _ = await hub.get("/v2/models/stats", **headers)
            assert sorted({model["name"] for model in listed["model_stats"]}) == names
        found, answer, _ = await hub.post("/v2/models/other-1/infer", INFER, **few)
        assert (found, answer["error"]) == (404, "model 'other-1' is unknown, expected one of: quick")
        found, answer, _ = await hub.post("/v2/models/absent/infer", INFER, **few)
        assert (found, answer["error"]) == (403, "key 'few' may not use model 'absent'"), (
            "as for one that is there"
        )


async def test_the_model_of_requests_without_a_name_is_not_told(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path, default_model="hidden") as hub:
        found, answer, _ = await hub.post("/predict", {"features": [1.0]}, headers=bearer("few"))
        assert (found, answer["error"]) == (403, "key 'few' may not use the model of requests that name none")
        assert (await hub.post("/predict", {"features": [1.0]}, headers=bearer("all")))[0] == 200


async def test_a_list_of_names_to_choose_from_has_only_those_of_the_key(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        for name, models in (("few", "quick"), ("all", "hidden, quick")):
            found, answer, _ = await hub.post("/predict", {"features": [1.0]}, headers=bearer(name))
            assert (found, answer["error"]) == (400, f"model_name is missing, expected one of: {models}")


async def test_settings_are_changed_only_with_control(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        body, level = {"log_info": True}, logging.getLogger().level
        try:
            found, answer, _ = await hub.post("/v2/logging", body, headers=bearer("all"))
            said = "key 'all' may not control, it may describe, infer"
            assert (found, answer["error"]) == (403, said)
            assert (await hub.post("/v2/logging", body, headers=bearer("admin")))[0] == 200
            async with over_grpc(hub, "LogSettings", pb.LogSettingsRequest, pb.LogSettingsResponse) as ask:
                changes = pb.LogSettingsRequest()
                changes.settings["log_info"].bool_param = True
                assert await failure(ask(changes, metadata=bearer("all").items())) == (
                    "PERMISSION_DENIED",
                    said,
                )
                await ask(pb.LogSettingsRequest(), metadata=bearer("all").items())
                await ask(changes, metadata=bearer("admin").items())
        finally:
            logging.getLogger().setLevel(level)


async def test_names_that_callers_invent_are_not_kept(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        body = {"features": [1.0], "model_name": "x" * 100_000}
        assert (await hub.post("/predict", body, headers=bearer("few")))[0] == 403
        for number in range(2 * MOST_KEPT):
            assert (await hub.get(f"/v2/models/invented-{number}", headers=bearer("few")))[0] == 403
        known = names_like(("quick", "other-?"))._known
        assert 0 < len(known) <= MOST_KEPT
        assert all(len(name) < 1000 for name in known)


async def test_paths_that_are_not_there_need_no_control(tmp_path: Path) -> None:
    async with hub_with_keys(tmp_path) as hub:
        for path, status in (
            ("/predictt", 404), ("/v2/models", 405), ("/v2/systemsharedmemory/unregister", 200),
            ("/v2/repository/models/quick/load", 403), ("/v2/trace/setting", 403), ("/v2/models/quick/trace/setting", 403),
        ):  # fmt: skip
            assert (await hub.post(path, {}, headers=bearer("all")))[0] == status, path


async def test_a_refused_call_wakes_nothing_and_enters_no_lane(tmp_path: Path) -> None:
    sleeping = ("night/hidden-2:1",)
    async with hub_with_keys(tmp_path, on_demand_models=sleeping) as hub:
        found, _, _ = await hub.post("/v2/models/hidden-2/infer", INFER, headers=bearer("few"))
        assert found == 403
        assert not hub.gateway.unknown.held
        metrics = await hub.metrics()
        assert 'kind="forbidden"' in metrics or 'status="403"' in metrics


async def test_an_end_of_line_in_a_path_gives_no_rights(tmp_path: Path) -> None:
    changes = ("/v2/logging", "/v2/repository/models/quick/load", "/v2/models/quick/trace/setting")
    async with hub_with_keys(tmp_path) as hub:
        for path in changes:
            found, answer, _ = await hub.post(path, {}, headers=bearer("asks"))
            assert (found, answer["error"]) == (403, "key 'asks' may not control, it may describe")
        for path in (*changes, "/v2/jobs", "/v1/files", "/v2"):
            for end in ("%0A", "%0a"):
                found, answer, _ = await hub.post(path + end, {}, headers=bearer("asks"))
                assert (found, "there is nothing at" in str(answer)) == (404, True), path + end
