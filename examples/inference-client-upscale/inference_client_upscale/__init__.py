"""Upscale: a task, an engine that does it with Pillow, and a command."""

from __future__ import annotations

from inference_client import hookimpl


@hookimpl
def inference_client_tasks() -> dict[str, str]:
    return {'upscale': 'inference_client_upscale.task:UpscaleTask'}


@hookimpl
def inference_client_engines() -> dict[str, str]:
    return {'upscale': 'inference_client_upscale.engine:UpscaleEngine'}


@hookimpl
def inference_client_commands() -> dict[str, str]:
    return {'upscale': 'inference_client_upscale.command:upscale'}
