from __future__ import annotations

import json
from pathlib import Path

from support.in_process_gateway import ENVIRON, document

from proxy.app.operator_page.configuration import MASK, effective_configuration
from proxy.config.loader import Config, read
from proxy.strict_json import Json

MORE = {
    "ADMIN_SECRET": "a-token-of-the-operator-with-32-chars",
    "FAL_PROXY_REDIS_URL": "redis://user:password-of-redis@store.test/0",
    "SOME_PASSWORD": "hunter2-and-more",
    "APP_HOST": "app.example.com",
}


def config(**sections: object) -> Config:
    found = read(document(**sections), {**ENVIRON, **MORE}, base=Path())
    assert found.problems == ()
    return found


def values(found: Config) -> dict[str, Json]:
    """Returns the values by table and key."""
    tables = effective_configuration(found)
    return {
        f"{table['table']}.{key['key']}": key["value"]
        for table in tables
        if isinstance(table, dict) and isinstance(table["keys"], list)
        for key in table["keys"]
        if isinstance(key, dict)
    }


def test_no_secret_is_shown() -> None:
    """A text made from a secret variable is masked, and a user in a URL; names of variables are shown."""
    found = config(
        admin={"token_env": "ADMIN_SECRET"},
        server={"public_origin": "https://${APP_HOST}"},
        playground={"docs_url": "https://me:pass@docs.test/${SOME_PASSWORD}?k=${FAL_KEY}"},
    )
    text = json.dumps(effective_configuration(found), ensure_ascii=False)

    assert [value for value in (*ENVIRON.values(), *MORE.values()) if value in text and value != MORE["APP_HOST"]] == []
    assert "canary-secret" not in text
    assert "me:pass" not in text
    assert values(found)["[playground].docs_url"] == f"https://{MASK}@docs.test/{MASK}?k={MASK}"
    assert values(found)["[admin].token_env"] == "ADMIN_SECRET"
    assert values(found)["[server].public_origin"] == "https://app.example.com"


def test_each_key_has_its_value() -> None:
    """Keys of the file and defaults are distinguished, and repeated tables are listed one by one."""
    tables = effective_configuration(config(budgets=[{"name": "a", "per": "user", "window": "day", "limit": 2}]))
    (budget,) = [one for one in tables if isinstance(one, dict) and one["table"] == "[[budgets]]"]
    assert isinstance(budget["keys"], list)
    keys = {key["key"]: (key["value"], key["default"]) for key in budget["keys"] if isinstance(key, dict)}

    assert keys["name"] == ("a", False)
    assert keys["limit"] == (2, False)
    assert keys["mode"] == ("enforce", True)
    assert values(config())["[fal].queue_origin"] == "http://127.0.0.1:9"
