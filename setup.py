"""Builds the wheel. With ``TUNEBENCH_PREBUILT=1`` it holds compiled kernels, and is for this kind of system."""

import os
import re
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).parent / "src"
PREBUILT = os.environ.get("TUNEBENCH_PREBUILT") == "1"


class BuildPackage(build_py):
    """Copies the package, and compiles its kernels into the copy."""

    def run(self) -> None:
        """Build."""
        super().run()
        if PREBUILT and not self.editable_mode:
            sys.path.insert(0, str(SOURCE))
            from tunebench.engine.native.build import PREBUILT as FOLDER
            from tunebench.engine.native.build import build_variants

            build_variants(Path(self.build_lib) / FOLDER.relative_to(SOURCE))


class BuildWheel(bdist_wheel):
    """Names the system where there are compiled kernels. They need no particular Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag of Python, its binary interface and the system."""
        tag = super().get_tag()
        return (*tag[:2], re.sub(r"[-.]", "_", sysconfig.get_platform())) if PREBUILT else tag


setup(cmdclass={"build_py": BuildPackage, "bdist_wheel": BuildWheel})
