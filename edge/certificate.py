"""Keeps the certificate younger than half of its life, and gets a new one when it ran out.

Certificates live in the machine's own time, whatever clock the agent trades on. Must never leave a
gateway without the certificate it had.
"""

import asyncio
import logging
import random
import time
from pathlib import Path

from edge.config import CloudSection
from edge.enrol import Enrolment, EnrolmentError, enrol, renew
from edge.keys import DeviceKey, KeyFileError
from protos.clock import SECOND_NS

CHECK_S_MAX = 3_600.0
RETRY_S = 60.0

log = logging.getLogger("edge.certificate")


class Certificate:
    """The enrolment of one gateway, renewed in place."""

    def __init__(
        self, state_dir: Path, cloud: CloudSection, enrolment: Enrolment, signer: DeviceKey
    ) -> None:
        self._state_dir = state_dir
        self._cloud = cloud
        self._signer = signer
        self.enrolment = enrolment
        self.problem = ""
        self.renewed = asyncio.Event()

    @property
    def address(self) -> str:
        """host:port of the gateway service: the configured one, else what enrolment said."""
        return self._cloud.gateway or self.enrolment.gateway

    @property
    def left_s(self) -> int:
        """Real seconds until the certificate ends; negative afterwards."""
        return (self.enrolment.not_after_ns - time.time_ns()) // SECOND_NS

    async def run(self) -> None:
        while True:
            left_s = (self.enrolment.renew_ns - time.time_ns()) / SECOND_NS
            if left_s > 0:
                # Short looks, because a clock that is set later must not delay the renewal.
                await asyncio.sleep(min(CHECK_S_MAX, left_s))
                continue
            if not await self._renew():
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))

    async def _renew(self) -> bool:
        try:
            self.enrolment = await self._ask()
        except (EnrolmentError, KeyFileError) as error:
            if str(error) != self.problem:
                log.warning("certificate not renewed", extra={"problem": str(error)})
            self.problem = str(error)
            return False
        self.problem = ""
        self.renewed.set()
        log.info("certificate renewed", extra={"left_s": self.left_s})
        return True

    async def _ask(self) -> Enrolment:
        cloud, state_dir, name = self._cloud, self._state_dir, self._cloud.server_name
        if self.left_s > 0:
            return await renew(
                state_dir, self.enrolment, self.address, cloud.ca, name, self._signer
            )
        if not cloud.enrolment:
            raise EnrolmentError(
                "the certificate has expired and cloud.enrolment is not set; set it,"
                " or run: gridtokenx-edge enrol"
            )
        # Too old to open the gateway service: the device key alone proves who we are.
        return await enrol(state_dir, "", cloud.enrolment, cloud.ca, name, self._signer)
