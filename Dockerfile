# The package and its dependencies, run by a user without rights: docs/how-to/install.md.
#
#   docker build --tag crypto-assets .
#   docker run --publish 127.0.0.1:3000:3000 --publish 127.0.0.1:3001:3001 --volume crypto-assets:/project crypto-assets

FROM python:3.13-slim-trixie AS build
WORKDIR /source

# pip takes only files whose hash is in a lock file; setuptools builds the wheel and is not installed.
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/build \
    && sed -n '/^setuptools==/,/# via/p' requirements-dev.lock >build.lock \
    && /opt/build/bin/pip install --quiet --no-cache-dir --require-hashes --requirement build.lock
RUN python -m venv --without-pip /opt/crypto_assets \
    && /opt/build/bin/pip --python /opt/crypto_assets/bin/python install --quiet --no-cache-dir --require-hashes --requirement requirements.lock

COPY pyproject.toml setup.py README.md LICENSE ./
COPY crypto_assets crypto_assets
RUN /opt/build/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/crypto_assets/bin/python install --quiet --no-cache-dir --no-deps dist/crypto_assets-*.whl

# Tests of other packages and headers, a tenth of the size. Nothing imports them.
RUN rm -rf \
    /opt/crypto_assets/lib/python3*/site-packages/matplotlib/tests \
    /opt/crypto_assets/lib/python3*/site-packages/pandas/tests \
    /opt/crypto_assets/lib/python3*/site-packages/pyarrow/include \
    /opt/crypto_assets/lib/python3*/site-packages/pyarrow/tests


FROM python:3.13-slim-trixie

# tini is process 1: it ends processes that nobody waits for, and sends a signal to the run workers too (-g).
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install --yes -qq --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*

# A named account: Postgres's initdb needs one.
RUN groupadd --gid 10001 crypto_assets \
    && useradd --uid 10001 --gid 10001 --home-dir /project --no-create-home --shell /usr/sbin/nologin crypto_assets \
    && mkdir /project \
    && chown 10001:10001 /project

COPY --from=build /opt/crypto_assets /opt/crypto_assets

# In a container the kernel does not know who asks; publish the ports on 127.0.0.1 only.
ENV PATH=/opt/crypto_assets/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    CRYPTO_ASSETS_UI_USERS=*

USER 10001:10001
WORKDIR /project
# A new volume gets this project.
RUN crypto-assets init .

EXPOSE 3000 3001
# As Ctrl-C: state is saved, and a run ends as cancelled.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=60s --timeout=15s --start-period=120s --start-interval=5s --retries=3 \
    CMD ["python", "-m", "crypto_assets.instance.healthcheck", "api"]
ENTRYPOINT ["tini", "-g", "--"]
CMD ["crypto-assets", "up", "--host", "0.0.0.0"]
