"""Record of the submits that reach the sandbox, by the prompt that names the click."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Submit:
    """One submit at fal. *answered* is 0.0 and *status* 0 until there is an answer. Times in unix seconds."""

    prompt: str
    arrived: float
    status: int = 0
    answered: float = 0.0
    job: str = ""


@dataclass
class SubmitRecorder:
    """ASGI application around the sandbox's queue."""

    app: ASGIApp
    submits: list[Submit] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, answer = bytearray(), bytearray()
        submit = Submit("", time.time())

        async def receive_noted() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                submit.status = message["status"]
            answer.extend(message.get("body", b""))
            await send(message)
            submit.answered = time.time()

        self.submits.append(submit)
        await self.app(scope, receive_noted, send_noted)
        submit.prompt = json.loads(body)["prompt"] if body else ""
        submit.job = json.loads(answer).get("request_id", "") if submit.status == 200 else ""

    def accepted(self) -> Counter[str]:
        """Jobs by prompt."""
        return Counter(submit.prompt for submit in self.submits if submit.status == 200)

    def prompts(self) -> dict[str, str]:
        """Returns the prompt of each job, by fal's id."""
        return {submit.job: submit.prompt for submit in self.submits if submit.job}
